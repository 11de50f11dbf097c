"""Held-out probes: a few updates from a common initial state, then the KL divergence on the probes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.diagnostic.rows import DiagnosticRows, TaskBatch
from dualselect.diagnostic.settings import DiagnosticSettings
from dualselect.diagnostic.subject import ModelState, Subject, parts_of
from dualselect.selection.correction import corrected


DEFAULT_RHO = 0.2
"""Strength of the correction where the settings say `rho: auto`."""


@dataclass(frozen=True)
class Variant:
    """A kind of update.

    Attributes:
        strategy: Strategy that selects the references; empty for the uncorrected update.
        correction: Mode of the correction.
    """

    strategy: str
    correction: str

    @property
    def name(self) -> str:
        """Name in tables and keys."""
        return f"{self.strategy} {self.correction}" if self.strategy else "uncorrected"


UNCORRECTED = Variant("", "none")


def variants_of(settings: DiagnosticSettings) -> list[Variant]:
    """The uncorrected update, each strategy with the run's correction, and dualselect with each other correction."""
    default = settings.run.training.correction
    strategies = [Variant(strategy, default) for strategy in settings.options.strategies]
    others = [one for one in settings.options.corrections if one not in ("none", default)]
    return [UNCORRECTED, *strategies, *(Variant("dualselect", correction) for correction in others)]


class Probing:
    """Applies the updates of a batch and evaluates the probes.

    Args:
        subject: The model.
        rows: Tokenized rows.
        state: Initial state of every update.
        updates: Number of updates per batch.
    """

    def __init__(self, subject: Subject, rows: DiagnosticRows, state: ModelState, updates: int) -> None:
        self._subject, self._rows, self._initial_state, self._updates = subject, rows, state, updates

    def measure(self, batch: TaskBatch, task_direction: Tensor, reference: Tensor | None, correction: Any) -> Any:
        """Divergences of the probes and the loss of the batch after its updates.

        Args:
            batch: The task batch.
            task_direction: The batch's mean gradient at the initial state, shape (P,).
            reference: The reference direction at the initial state, shape (P,); None for no correction.
            correction: Mode of the correction.
        """
        subject, config, task = self._subject, self._subject.config, self._rows.task.tokens
        state, gradient = self._initial_state, task_direction
        subject.load(state)
        rho = DEFAULT_RHO if config.fixed_rho is None else config.fixed_rho
        for update in range(self._updates):
            if update:
                gradient = subject.mean_gradient(task, batch.rows)
            if reference is not None:
                gradient = corrected(gradient, reference, mode=correction, rho=rho, rho_mode=config.rho_mode)
            state = subject.step(state, gradient)
        return {"kl": self.divergences(), "task_loss": self._task_loss(batch.rows)}

    def before_updates(self) -> list[float]:
        """Divergences of the probes before any update."""
        self._subject.load(self._initial_state)
        return self.divergences()

    def divergences(self) -> list[float]:
        """KL(start || current) of each probe, in nats."""
        subject, probes = self._subject, self._rows.probes.tokens
        values: list[float] = []
        for positions in parts_of(range(len(probes)), subject.config.reference_micro_batch_size):
            values += subject.divergences(probes, positions).tolist()
        return values

    def _task_loss(self, rows: Sequence[int]) -> float:
        size = self._subject.config.per_device_train_batch_size
        losses = [self._subject.losses(self._rows.task.tokens, part) for part in parts_of(rows, size)]
        return float(torch.cat(losses).mean())
