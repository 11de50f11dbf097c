"""The examples of one optimizer step, collected over its micro-batches.

Shapes: n examples in the step, P trainable parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dualselect.gradients import GradientLayout, PerExampleGradients, cosines
from dualselect.selection import Choice


@dataclass(frozen=True)
class ExampleStats:
    """What selection knows about each example of a step; tensors of shape (n,), float64, on the CPU.

    Attributes:
        losses: Mean cross-entropy over the example's supervised tokens.
        cosines: Cosine between its gradient and the reference direction; 0 during the warm-up.
        gradient_norms: Norm of its gradient.
        tokens: Its number of supervised tokens.
        rows: Its row index, n integers.
    """

    losses: Tensor
    cosines: Tensor
    gradient_norms: Tensor
    tokens: Tensor
    rows: list[int]

    @property
    def finite(self) -> Tensor:
        """Whether the loss and the gradient of each example are finite, shape (n,)."""
        return torch.isfinite(self.losses + self.gradient_norms)

    def at(self, positions: Sequence[int]) -> "ExampleStats":
        """The statistics of the examples at these positions, in this order."""
        at = list(positions)
        rows = [self.rows[position] for position in at]
        return ExampleStats(self.losses[at], self.cosines[at], self.gradient_norms[at], self.tokens[at], rows)


class StepExamples:
    """Per-example gradients of the micro-batches of one optimizer step.

    Args:
        layout: The layout of the trainable parameters.
    """

    def __init__(self, layout: GradientLayout) -> None:
        self._layout = layout
        self._gradients: list[Tensor] = []
        self._stats: list[tuple[Tensor, Tensor, Tensor]] = []  # losses, tokens, row indices of a micro-batch

    def __bool__(self) -> bool:
        return bool(self._gradients)

    def add(self, gradients: PerExampleGradients, tokens: Tensor, rows: Tensor) -> None:
        """Add a micro-batch of B examples.

        Args:
            gradients: Losses and gradients of its examples.
            tokens: Number of supervised tokens of each, shape (B,).
            rows: Row index of each, shape (B,).
        """
        self._gradients.append(gradients.gradients)
        self._stats.append((gradients.losses, tokens, rows))

    def stats(self, direction: Tensor | None) -> ExampleStats:
        """Concatenate the statistics of all examples; one device-to-host copy.

        Args:
            direction: Reference direction for the cosines, shape (P,); None during the warm-up.
        """
        parts = [
            torch.stack([losses, _cosines(gradients, direction), gradients.norm(dim=1), tokens.float()])
            for gradients, (losses, tokens, _) in zip(self._gradients, self._stats, strict=True)
        ]
        losses, cosine, norms, tokens = torch.cat(parts, dim=1).cpu().double()
        return ExampleStats(losses, cosine, norms, tokens, torch.cat([rows for *_, rows in self._stats]).tolist())

    def keep(self, positions: Sequence[int]) -> None:
        """Keep only the gradients of these examples: a weight of 0 would not remove a NaN."""
        kept, start = set(positions), 0
        for number, gradients in enumerate(self._gradients):
            inside = [place for place in range(len(gradients)) if start + place in kept]
            start += len(gradients)
            self._gradients[number] = gradients[inside]

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Sum of the gradients times their weights, shape (P,).

        Args:
            weights: One weight per remaining example (see `keep`), shape (n,).
        """
        total = self._layout.zeros()
        parts = weights.float().to(self._layout.device).split([len(gradients) for gradients in self._gradients])
        for part, gradients in zip(parts, self._gradients, strict=True):
            total += part @ gradients
        return total


def selection_fields(stats: ExampleStats, scores: Tensor, choice: Choice) -> dict[str, Any]:
    """Selection-log fields of a step after the warm-up; one entry per example."""
    return {
        "cosines": stats.cosines.tolist(),
        "scores": scores.tolist(),
        "tokens": [int(count) for count in stats.tokens.tolist()],
        "kept": (choice.weights > 0).tolist(),
        "weights": choice.weights.tolist(),
    }


def selection_metrics(stats: ExampleStats, choice: Choice) -> dict[str, float]:
    """Metrics of a step for trackers: means and fractions over its examples."""
    kept = choice.weights > 0
    return {
        "task_cosine": float(stats.cosines.mean()),
        "kept_fraction": float(kept.double().mean()),
        "kept_token_fraction": float((stats.tokens * kept).sum() / stats.tokens.sum()),
    }


def _cosines(gradients: Tensor, direction: Tensor | None) -> Tensor:
    return gradients.new_zeros(len(gradients)) if direction is None else cosines(gradients, direction)
