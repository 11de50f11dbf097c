"""Lisa: alternate between alignment and task steps, with a proximal term to the weights at the last switch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from datasets import Dataset
from torch import Tensor

from dualselect.data.conversations import joined
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range, weights_of


@dataclass(frozen=True)
class Lisa(Method):
    """Lazy safety alignment by two alternating states (Huang et al., NeurIPS 2024, arXiv 2405.18641).

        loss + proximal_weight / 2 * |weights - weights at the last switch|^2

    States of `alignment_steps` on the pool and of `task_steps` on the task alternate, starting with alignment; the end
    of an epoch does not end a state. Two departures from the authors' code, which counts micro-batches and discards
    the task rows sampled during alignment: states are counted in optimizer steps, and no task row is lost, so that
    alignment steps are extra. With `max_steps`, alignment steps count towards it.

    Attributes:
        alignment_steps: Optimizer steps of an alignment state (paper: 100).
        task_steps: Optimizer steps of a task state (paper: 900).
        proximal_weight: Weight of the proximal term (paper: rho, 1).
        proximal_start: Share of the run without the proximal term (authors' code: the first tenth).
    """

    paper: ClassVar[str] = "Lisa, Huang et al., NeurIPS 2024, arXiv 2405.18641"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "lisa"
    alignment_steps: int = 100
    task_steps: int = 900
    proximal_weight: float = 1.0
    proximal_start: float = 0.1

    def __post_init__(self) -> None:
        check_count(self, "alignment_steps")
        check_count(self, "task_steps")
        check_range(self, "proximal_weight", low=0)
        check_range(self, "proximal_start", low=0, high=1)

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """Task rows, then pool rows; `order` interleaves them."""
        assert pool is not None
        return joined([task, pool])

    def order(
        self, task_rows: int, rows: int, rows_per_step: int, epochs: float, generator: torch.Generator
    ) -> list[int]:
        """Alternating states until every task row was used once per epoch."""
        shuffled = [torch.randperm(task_rows, generator=generator) for _ in range(math.ceil(epochs))]
        task = torch.cat(shuffled)[: round(epochs * task_rows)].tolist()
        pool = _reshuffled_forever(task_rows, rows, generator)
        ordered: list[int] = []
        for start in range(0, len(task), self.task_steps * rows_per_step):
            ordered += [next(pool) for _ in range(self.alignment_steps * rows_per_step)]
            ordered += task[start : start + self.task_steps * rows_per_step]
        return ordered

    def switches(self) -> Iterator[bool]:
        """Whether a new state starts, for each optimizer step, endlessly."""
        while True:
            for state in (self.alignment_steps, self.task_steps):
                yield from (step == 0 for step in range(state))

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _LisaUpdate(run, self)


def _reshuffled_forever(start: int, stop: int, generator: torch.Generator) -> Iterator[int]:
    while True:
        yield from (start + torch.randperm(stop - start, generator=generator)).tolist()


class _LisaUpdate(Update):
    def __init__(self, run: Run, method: Lisa) -> None:
        super().__init__(run)
        self._method = method
        self._switches = method.switches()
        self._anchor = weights_of(run)

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        weights = weights_of(self.run)
        if next(self._switches):
            self._anchor = weights
        if step < self._method.proximal_start * steps:
            return gradient
        return gradient + self._method.proximal_weight * (weights - self._anchor)
