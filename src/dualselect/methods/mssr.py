"""MSSR: replay by memory strength, at intervals that grow."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dualselect.methods.memory import STEP_SEEDS, Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.models.losses import response_cross_entropy


@dataclass(frozen=True)
class Mssr(Method):
    """Replay the rows that are most likely forgotten, often at first and less often later (arXiv 2603.09892).

        retention of row i after dt steps without replay: exp(-dt / S_i)
        a row is drawn with probability proportional to 1 - retention; when replayed, S_i <- growth * S_i
        replay at steps 0, d, d + d * spacing, ...: the interval d grows by `spacing` after each replay

    We know the paper's idea (Ebbinghaus' forgetting curve, expanding intervals, low strength first), but not its
    constants; the formulas above are our reading of it. A replay step has one memory batch, other steps none.

    Attributes:
        memory_size: Memory rows of a replay step.
        weight: Weight of the memory loss, 0 or more.
        strength: S_i of a row that was never replayed, in steps, above 0.
        growth: Factor of S_i at each replay, 1 or more.
        interval: Steps between the first two replays, 1 or more.
        spacing: Factor of the interval after each replay, 1 or more.
    """

    paper: ClassVar[str] = "MSSR, arXiv 2603.09892"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "mssr"
    memory_size: int = 8
    weight: float = 1.0
    strength: float = 20.0
    growth: float = 2.0
    interval: float = 1.0
    spacing: float = 1.1

    def __post_init__(self) -> None:
        check_count(self, "memory_size")
        check_range(self, "weight", low=0)
        check_range(self, "strength", low=0, above=True)
        for name in ("growth", "interval", "spacing"):
            check_range(self, name, low=1)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _MssrUpdate(run, self)


class _MssrUpdate(Update):
    def __init__(self, run: Run, method: Mssr) -> None:
        super().__init__(run)
        assert run.pool is not None
        self._method, self._memory = method, Memory(run, method.memory_size)
        self._strength = torch.full((len(run.pool),), method.strength, dtype=torch.float64)
        self._seen = torch.full((len(run.pool),), -1.0, dtype=torch.float64)
        self._next, self._interval = 0.0, method.interval

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if step < self._next:
            return gradient
        self._next, self._interval = step + self._interval, self._interval * self._method.spacing
        drawn = self._drawn(step)
        self._strength[drawn] *= self._method.growth
        self._seen[drawn] = step
        return gradient + self._method.weight * self._memory.gradient_at(drawn, response_cross_entropy)

    def _drawn(self, step: int) -> list[int]:
        forgotten = 1.0 - torch.exp(-(step - self._seen) / self._strength)
        generator = torch.Generator().manual_seed(self.run.seed * STEP_SEEDS + step)
        size = min(self._method.memory_size, len(forgotten))
        drawn: list[int] = torch.multinomial(forgotten.clamp(min=math.ulp(1.0)), size, generator=generator).tolist()
        return drawn
