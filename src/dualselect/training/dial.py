"""`rho: auto`: the strength of the correction as the multiplier of a constraint.

The minimax view of arXiv 2606.09866: fine-tune on the task, subject to a mean excess loss of the references of at most
`reference_slack`. rho is the multiplier of that constraint, one for each side of the pool. The excess loss is measured
on a few held-out references, because the model soon memorizes those that correct it. The same references are measured
each time: sampling noise would bias a multiplier that is clipped at 0.

The update is that of a proportional-integral controller (Stooke et al., arXiv 2007.03964).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.data.token_columns import token_rows
from dualselect.models.losses import response_cross_entropy
from dualselect.training.references import without_dropout
from dualselect.training.sides import SIDES, References


EVERY_STEPS = 4
PROPORTIONAL, INTEGRAL = 2.0, 0.5
"""rho per unit of excess loss (nats per token): at once, and added at each measurement."""
HIGHEST = 2.0
"""The largest rho, in units of |g_task| / |g_ref|."""


@dataclass
class DialState:
    """The state of the controller; one number per side in each list.

    Attributes:
        start: Mean loss of the held-out references at the start of training.
        excess: The last measured increase of that loss, in nats per token; negative if the loss fell.
        integral: Sum of what the measurements added, in [0, HIGHEST].
        rho: The current strength, in [0, HIGHEST], relative to |g_task| / |g_ref|.
    """

    start: list[float]
    excess: list[float] = field(default_factory=list)
    integral: list[float] = field(default_factory=list)
    rho: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("excess", "integral", "rho"):
            setattr(self, name, getattr(self, name) or [0.0] * len(self.start))

    def turn(self, losses: list[float], slack: float) -> None:
        """Set rho by the losses of now.

        Args:
            losses: Mean loss of the held-out references of each side.
            slack: The increase that is accepted, in nats per token, 0 or more.
        """
        for side, (now, start) in enumerate(zip(losses, self.start, strict=True)):
            self.excess[side] = now - start
            above = self.excess[side] - slack
            self.integral[side] = _bounded(self.integral[side] + INTEGRAL * above)
            self.rho[side] = _bounded(self.integral[side] + PROPORTIONAL * above)

    def facts(self) -> dict[str, list[float]]:
        """The fields of a step in the selection log."""
        return {"rho": list(self.rho), "held_out_excess": list(self.excess)}

    def metrics(self) -> dict[str, float]:
        """Metrics for trackers."""
        if len(self.rho) == 1:
            return {"rho": self.rho[0], "held_out_excess": self.excess[0]}
        named = dict(zip(SIDES, zip(self.rho, self.excess, strict=True), strict=True))
        rhos = {f"rho_{side}": rho for side, (rho, _) in named.items()}
        return rhos | {f"held_out_excess_{side}": excess for side, (_, excess) in named.items()}


class Dial:
    """Measures the held-out references and sets rho.

    Args:
        references: The references, some of them held out.
        collate: Makes a padded batch of a list of rows.
        slack: `reference_slack`.
    """

    def __init__(
        self, references: References, collate: Callable[[list[Any]], Mapping[str, Any]], slack: float
    ) -> None:
        assert references.held_out is not None
        self._rows, self._sides = references.held_out, torch.tensor(references.held_out_sides)
        self._collate, self._slack = collate, slack

    def follow(self, state: DialState | None, model: nn.Module, *, selecting_for: int) -> DialState:
        """The state at a step: begun before the first one, and turned every few steps once references are selected.

        Args:
            state: The state so far; None before the first step.
            model: The current model.
            selecting_for: Steps since the warm-up; negative during the warm-up.
        """
        if state is None:
            state = DialState(self._losses(model))
        if selecting_for >= 0 and selecting_for % EVERY_STEPS == 0:
            state.turn(self._losses(model), self._slack)
        return state

    def _losses(self, model: nn.Module) -> list[float]:
        device = next(model.parameters()).device
        batch = self._collate(token_rows(self._rows, range(len(self._rows))))
        with without_dropout(model), torch.no_grad():
            losses = response_cross_entropy(model, {name: value.to(device) for name, value in batch.items()})
        return _means(losses.cpu().double(), self._sides)


def _means(losses: Tensor, sides: Tensor) -> list[float]:
    return [losses[sides == side].nanmean().item() for side in range(int(sides.max()) + 1)]


def _bounded(value: float) -> float:
    return min(HIGHEST, max(0.0, value))
