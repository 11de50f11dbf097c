"""The result of a reference refresh: scores of the pool, the choice, its directions.

Shapes: N references in the pool, P trainable parameters.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.gradients import cosines
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.selection import Choice


@dataclass(frozen=True)
class Directions:
    """What the selected references say, each of shape (P,).

    Attributes:
        correction: Weighted mean gradient of the safe responses; it corrects the update.
        score: The same with the contrast subtracted; it scores the task examples. The same tensor as `correction`
            without a contrast.
    """

    correction: Tensor
    score: Tensor

    @property
    def same(self) -> bool:
        """Whether both are one tensor."""
        return self.score is self.correction


@dataclass(frozen=True)
class Refresh:
    """One choice of references.

    Attributes:
        step: Optimizer steps done when it was made.
        epoch: Epochs begun when it was made.
        choice: Positions in the pool and weights of the selected references.
        task_direction: What they were chosen against, shape (P,).
        directions: Their directions at that moment.
        conflict_threshold: Cosine to the score direction under which a task example conflicts with the references;
            None unless the token budget is `auto`.
    """

    step: int
    epoch: int
    choice: Choice
    task_direction: Tensor
    directions: Directions
    conflict_threshold: float | None = None

    def facts(self, scores: "PoolScores", before: "Refresh | None") -> dict[str, Any]:
        """The fields of its line in the selection log; lists have one entry per reference with finite numbers.

        Args:
            scores: The scores that the choice was made from.
            before: The previous refresh, to measure the drift of the directions; None for the first.
        """
        kept, finite = set(self.choice.kept), scores.finite
        drift: dict[str, float | None] = {}
        if before is not None and scores.direction_of_before is not None:
            old = before.directions.correction
            drift = {
                "task_direction_cosine": cosine_or_none(self.task_direction, before.task_direction),
                "reference_direction_cosine": cosine_or_none(self.directions.correction, old),
                "same_references_cosine": cosine_or_none(scores.direction_of_before, old),
            }
        return {
            "losses": scores.losses[finite].tolist(),
            "preservation_losses": scores.preservation_losses[finite].tolist(),
            "cosines": scores.cosines[finite].tolist(),
            "scores": scores.scores[finite].tolist(),
            "kept": [position in kept for position in finite],
            "weights": self.choice.weights[finite].tolist(),
            "task_direction_norm": self.task_direction.norm().item(),
            "reference_direction_norm": self.directions.correction.norm().item(),
            "conflict_threshold": self.conflict_threshold,
            **drift,
        }


@dataclass(frozen=True)
class PoolScores:
    """Result of the first pass. Tensors without another shape are (N,), float64, on the CPU, in pool order.

    Attributes:
        losses: Response cross-entropy of each reference.
        preservation_losses: Preservation loss of each.
        cosines: Cosine of the gradient of each to the task direction.
        scores: Score of each; NaN where a loss or gradient is not finite.
        direction_of_before: Weighted mean gradient of the references of the previous refresh, recomputed with current
            weights, shape (P,): it isolates drift from re-selection. None at the first refresh.
    """

    losses: Tensor
    preservation_losses: Tensor
    cosines: Tensor
    scores: Tensor
    direction_of_before: Tensor | None = None

    @property
    def finite(self) -> list[int]:
        """Positions of the references whose score is finite."""
        return torch.isfinite(self.scores).nonzero().flatten().tolist()


def cosine_or_none(one: Tensor, other: Tensor) -> float | None:
    """Cosine of two directions, each of shape (P,); None if one is shorter than `NORM_FLOOR` or not finite."""
    if not NORM_FLOOR <= min(one.norm().item(), other.norm().item()) < math.inf:
        return None
    return cosines(one[None], other).item()
