"""Experience replay: every step also learns from a batch of the memory."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dualselect.methods.memory import Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.models.losses import response_cross_entropy


@dataclass(frozen=True)
class Er(Method):
    """Add the loss of a random memory batch to that of the task (Rolnick et al., NeurIPS 2019; Chaudhry et al., 2019).

        L = L_task + weight * L_memory

    Attributes:
        memory_size: Memory rows per step.
        weight: Weight of the memory loss, 0 or more.
    """

    paper: ClassVar[str] = "Experience replay, Chaudhry et al., arXiv 1902.10486"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "er"
    memory_size: int = 8
    weight: float = 1.0

    def __post_init__(self) -> None:
        check_count(self, "memory_size")
        check_range(self, "weight", low=0)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _ErUpdate(run, self)


class _ErUpdate(Update):
    def __init__(self, run: Run, method: Er) -> None:
        super().__init__(run)
        self._memory, self._weight = Memory(run, method.memory_size), method.weight

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if not self._weight:
            return gradient
        replayed = self._memory.gradient_at(self._memory.drawn(step), response_cross_entropy)
        return gradient + self._weight * replayed
