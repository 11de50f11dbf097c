"""A-GEM: to first order, the update does not raise the loss on a memory batch."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from dualselect.methods.memory import Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count
from dualselect.models.losses import response_cross_entropy
from dualselect.selection import project_conflict


@dataclass(frozen=True)
class AGem(Method):
    """Remove the component of the update that opposes the gradient of safe responses (Chaudhry et al., ICLR 2019).

        g <- g - min(0, <g, m>) / |m|^2 * m,    m: gradient of the mean cross-entropy of a batch of the pool

    Attributes:
        memory_size: Pool rows sampled per step. The authors use the size of the task batch; the default is 8.
    """

    paper: ClassVar[str] = "A-GEM, Chaudhry et al., ICLR 2019"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "a_gem"
    memory_size: int = 8

    def __post_init__(self) -> None:
        check_count(self, "memory_size")

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _AGemUpdate(run, self)


class _AGemUpdate(Update):
    def __init__(self, run: Run, method: AGem) -> None:
        super().__init__(run)
        self._memory = Memory(run, method.memory_size)

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        return project_conflict(gradient, self._memory.gradient(response_cross_entropy))
