"""The result of a reference refresh: scores of the pool, the choice, its directions.

Shapes: N references in the pool, S sides of the pool, P trainable parameters.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.gradients import cosines
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.selection import Choice, ConflictFilter, Probe


@dataclass(frozen=True)
class Directions:
    """The directions of a refresh.

    Attributes:
        correction: Weighted mean gradient of the selected safe responses of each side, shape (S, P); corrects the
            update.
        score: What the task examples are scored against. With `task_token_budget: auto` shape (1, P), the direction
            of the whole pool; otherwise shape (S, P), `correction` with the contrasts subtracted. Without a contrast
            it is the same tensor as `correction`.
    """

    correction: Tensor
    score: Tensor

    @property
    def same(self) -> bool:
        """Whether both directions are the same tensor."""
        return self.score is self.correction


@dataclass(frozen=True)
class Refresh:
    """One choice of references.

    Attributes:
        step: Optimizer steps done at the time of the refresh.
        epoch: Index of the current epoch, from 0, at the time of the refresh.
        choice: Positions in the pool and weights of the selected references.
        task_direction: The task direction that the references were scored against, shape (P,).
        directions: Directions of the selected references at the time of the refresh.
        conflict_filter: What decides which task examples are dropped; None unless the token budget is `auto`.
    """

    step: int
    epoch: int
    choice: Choice
    task_direction: Tensor
    directions: Directions
    conflict_filter: ConflictFilter | None = None

    def conflict_threshold(self, rate: float) -> float | None:
        """The largest conflict score of a task example that is kept.

        Args:
            rate: `harmless_drop_rate`.

        Returns:
            None unless the token budget is `auto`.
        """
        return None if self.conflict_filter is None else self.conflict_filter.threshold(rate)

    def facts(self, scores: "PoolScores", before: "Refresh | None", rate: float) -> dict[str, Any]:
        """The fields of its line in the selection log. Lists have one entry per reference with finite values.

        Args:
            scores: The scores that the choice is based on.
            before: The previous refresh, to measure the drift of the directions; None for the first refresh.
            rate: `harmless_drop_rate`.
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
            "conflict_threshold": self.conflict_threshold(rate),
            **({} if self.conflict_filter is None else self.conflict_filter.facts(rate)),
            **drift,
        }


@dataclass(frozen=True)
class PoolScores:
    """Result of the first pass. Tensors are (N,), float64, on the CPU, in pool order, unless a shape is given.

    Attributes:
        losses: Response cross-entropy of each reference.
        preservation_losses: Preservation loss of each reference.
        cosines: Cosine between the gradient of each reference and the task direction.
        scores: Score of each reference; NaN if its loss or gradient is not finite.
        direction_of_before: Weighted mean gradient of the references of the previous refresh, recomputed with the
            current weights, shape (S, P). It separates drift from re-selection. None at the first refresh.
        filter_direction: What task examples are scored against with `task_token_budget: auto`, shape (P,); see
            `conflict_direction`. None without.
        probe: The probe of `task_token_budget: auto`; None without it or without contrasts.
    """

    losses: Tensor
    preservation_losses: Tensor
    cosines: Tensor
    scores: Tensor
    direction_of_before: Tensor | None = None
    filter_direction: Tensor | None = None
    probe: Probe | None = None

    @property
    def finite(self) -> list[int]:
        """Positions of the references with a finite score."""
        return torch.isfinite(self.scores).nonzero().flatten().tolist()


def cosine_or_none(one: Tensor, other: Tensor) -> float | None:
    """Cosine of two directions of one shape; None if one has a norm below `NORM_FLOOR` or is not finite."""
    one, other = one.flatten(), other.flatten()
    if not NORM_FLOOR <= min(one.norm().item(), other.norm().item()) < math.inf:
        return None
    return cosines(one[None], other).item()
