"""Plain fine-tuning, the baseline of all other methods."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from datasets import Dataset
from torch import Tensor

from dualselect.errors import DataError
from dualselect.methods.method import Method, Run, Update, check_range
from dualselect.models.losses import response_cross_entropy
from dualselect.training.references import without_dropout


VALIDATION_LOSS = "validation_loss"
"""Name of the loss on held-out task rows in metrics.jsonl."""
HELD_OUT_FOR_TUNING = 0.1


@dataclass(frozen=True)
class Sft(Method):
    """Plain supervised fine-tuning on all task rows."""

    paper: ClassVar[str] = "plain supervised fine-tuning"
    name: str = "sft"


@dataclass(frozen=True)
class SftTuned(Method):
    """Plain fine-tuning with hyperparameters tuned on held-out task rows, as a fair control.

    Well-chosen hyperparameters avoid much of the harm of fine-tuning (arXiv 2508.12531). `dualselect compare` tunes
    over the `tune` block, in runs that hold out a tenth of the task rows, and reports the number of runs. The compared
    run is `sft` with the chosen settings on all rows, unless `held_out` is set.

    Attributes:
        held_out: Share of randomly held-out task rows, in [0, 0.9]. Their mean loss is logged as `validation_loss` at
            the end. It also applies to the compared run.
    """

    paper: ClassVar[str] = "arXiv 2508.12531 (tuned hyper-parameters as a control)"
    tuned_by: ClassVar[Literal["balance", "validation_loss"]] = "validation_loss"
    name: str = "sft_tuned"
    held_out: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, "held_out", low=0, high=0.9)

    def candidate(self) -> "SftTuned":
        """Hold out rows, if none are."""
        return self if self.held_out else replace(self, held_out=HELD_OUT_FOR_TUNING)

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
                f"{self.name} holds out {self.held_out:g} of {len(task)} task rows, which leaves one side empty: "
                "add rows, or remove the tune block"
            )
        return task.select([index for index in range(len(task)) if index not in held])

    def held_out_rows(self, rows: int, seed: int) -> list[int]:
        """Positions of the held-out rows."""
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed)).tolist()
        return sorted(order[: round(self.held_out * rows)])

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
        self.run.log({VALIDATION_LOSS: losses.mean().item()})

    def _losses(self) -> Iterator[Tensor]:
        for start in range(0, len(self._rows), self.run.rows_per_step):
            batch = self.run.batch(self.run.task.select(self._rows[start : start + self.run.rows_per_step]))
            yield response_cross_entropy(self.run.model, batch)
