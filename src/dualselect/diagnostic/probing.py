"""What references are worth: from the same place a few updates of a batch, then the held-out probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.diagnostic.rows import DiagnosticRows, TaskBatch
from dualselect.diagnostic.settings import DiagnosticSettings
from dualselect.diagnostic.subject import Place, Subject, parts_of
from dualselect.selection.correction import corrected


@dataclass(frozen=True)
class Variant:
    """One way to update.

    Attributes:
        strategy: Who picked the references; empty for an update without any.
        correction: What they do to the update.
    """

    strategy: str
    correction: str

    @property
    def name(self) -> str:
        """For tables and keys."""
        return f"{self.strategy} {self.correction}" if self.strategy else "uncorrected"


UNCORRECTED = Variant("", "none")


def variants_of(settings: DiagnosticSettings) -> list[Variant]:
    """The uncorrected update, each strategy with the run's correction, each other correction with dualselect."""
    usual = settings.run.training.correction
    strategies = [Variant(strategy, usual) for strategy in settings.options.strategies]
    others = [one for one in settings.options.corrections if one not in ("none", usual)]
    return [UNCORRECTED, *strategies, *(Variant("dualselect", correction) for correction in others)]


class Probing:
    """Updates a batch in every way and reads the probes after it.

    Args:
        subject: The model.
        rows: Tokenized rows.
        place: Where every update begins.
        updates: Updates of each batch.
    """

    def __init__(self, subject: Subject, rows: DiagnosticRows, place: Place, updates: int) -> None:
        self._subject, self._rows, self._place, self._updates = subject, rows, place, updates

    def measure(self, batch: TaskBatch, task_direction: Tensor, reference: Tensor | None, correction: Any) -> Any:
        """Divergences of the probes, and the batch's own loss, after its updates.

        Args:
            batch: The task batch.
            task_direction: Its mean gradient at the place, shape (P,).
            reference: The reference direction at the place, shape (P,); None for no correction.
            correction: Its mode.
        """
        subject, config, task = self._subject, self._subject.config, self._rows.task.tokens
        place, gradient = self._place, task_direction
        subject.move_to(place)
        for update in range(self._updates):
            if update:
                gradient = subject.mean_gradient(task, batch.rows)
            if reference is not None:
                gradient = corrected(gradient, reference, mode=correction, rho=config.rho, rho_mode=config.rho_mode)
            place = subject.step(place, gradient)
        return {"kl": self.divergences(), "task_loss": self._task_loss(batch.rows)}

    def at_place(self) -> list[float]:
        """Divergences of the probes before any update."""
        self._subject.move_to(self._place)
        return self.divergences()

    def divergences(self) -> list[float]:
        """KL(start || now) of each probe, in nats."""
        subject, probes = self._subject, self._rows.probes.tokens
        found: list[float] = []
        for positions in parts_of(range(len(probes)), subject.config.reference_micro_batch_size):
            found += subject.divergences(probes, positions).tolist()
        return found

    def _task_loss(self, rows: Sequence[int]) -> float:
        size = self._subject.config.per_device_train_batch_size
        losses = [self._subject.losses(self._rows.task.tokens, part) for part in parts_of(rows, size)]
        return float(torch.cat(losses).mean())
