"""Plain fine-tuning: what every other method is compared with."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from datasets import Dataset
from torch import Tensor

from dualselect.errors import DataError
from dualselect.gradients.losses import response_cross_entropy
from dualselect.methods.method import Method, Run, Update, check_range
from dualselect.training.references import without_dropout


VALIDATION_LOSS = "validation_loss"
"""What the loss on held-out task rows is called in metrics.jsonl."""
HELD_OUT_FOR_CHOOSING = 0.1


@dataclass(frozen=True)
class Sft(Method):
    """Supervised fine-tuning on all task rows, nothing else."""

    paper: ClassVar[str] = "plain supervised fine-tuning"
    name: str = "sft"


@dataclass(frozen=True)
class SftTuned(Method):
    """The honest control: plain fine-tuning whose learning rate and epochs were chosen on held-out task rows.

    Much of the harm of fine-tuning goes away with sound hyper-parameters (arXiv 2508.12531). `dualselect compare`
    chooses among the settings of its `tune` block, in runs that hold out a tenth of the task rows, and tells how many
    runs that took; the run that is compared is `sft` with what was chosen, on all rows, unless `held_out` is set.

    Attributes:
        held_out: Share of the task rows, drawn by lot, that are not trained on and whose mean loss is logged as
            `validation_loss` at the end; in [0, 0.9]. It holds for the run that is compared too.
    """

    paper: ClassVar[str] = "arXiv 2508.12531 (tuned hyper-parameters as a control)"
    tuned_by: ClassVar[Literal["balance", "validation_loss"]] = "validation_loss"
    name: str = "sft_tuned"
    held_out: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "held_out", low=0, high=0.9)

    def candidate(self) -> "SftTuned":
        """With rows held out, if none were."""
        return self if self.held_out else replace(self, held_out=HELD_OUT_FOR_CHOOSING)

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """The task rows that are not held out.

        Raises:
            DataError: There are too few rows to hold one out and keep one.
        """
        if not self.held_out:
            return task
        held = set(self.held_out_rows(len(task), seed))
        if not 0 < len(held) < len(task):
            raise DataError(
                f"{self.name} holds out {self.held_out:g} of {len(task)} task rows, which leaves none on one side: "
                "give more rows, or leave out the tune block"
            )
        return task.select([place for place in range(len(task)) if place not in held])

    def held_out_rows(self, rows: int, seed: int) -> list[int]:
        """Positions of the rows that are held out."""
        drawn = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
        return sorted(drawn[: round(self.held_out * rows)])

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _HeldOut(run, self) if self.held_out else Update(run)


class _HeldOut(Update):
    def __init__(self, run: Run, method: SftTuned) -> None:
        super().__init__(run)
        self._rows = method.held_out_rows(len(run.task), run.seed)

    def finish(self) -> None:
        with without_dropout(self.run.model), torch.no_grad():
            losses = torch.cat(list(self._losses()))
        self.run.tell({VALIDATION_LOSS: losses.mean().item()})

    def _losses(self) -> Iterator[Tensor]:
        for start in range(0, len(self._rows), self.run.rows_per_step):
            batch = self.run.batch(self.run.task.select(self._rows[start : start + self.run.rows_per_step]))
            yield response_cross_entropy(self.run.model, batch)
