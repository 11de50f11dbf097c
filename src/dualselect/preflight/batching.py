"""Whether batching changes the per-example gradients of a model: rows in one padded batch against each row alone.

Both are computed by autograd, so that the answer is about the model and not about a gradient engine.

Shapes: B examples, P trainable parameters.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.gradients import GradientEngine, GradientLayout, Materialise, Sink, run_sequentially
from dualselect.models.losses import response_cross_entropy


EXACT_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.1
"""Largest relative difference that counts as rounding, in float32 and in lower precision."""
SMALL_WEIGHT = 0.02


@dataclass(frozen=True)
class BatchingCheck:
    """The result of the comparison.

    Attributes:
        differences: For each of the B rows, the norm of the difference of its two gradients, relative to the norm of
            its gradient alone.
        lengths: Tokens of each row.
        tolerance: Largest relative difference that counts as rounding.
    """

    differences: list[float]
    lengths: list[int]
    tolerance: float

    @property
    def largest(self) -> float:
        """The largest relative difference."""
        return max(self.differences)

    @property
    def changes(self) -> bool:
        """Whether batching changes the gradients by more than rounding; true where a gradient is not finite."""
        return not self.largest <= self.tolerance


def check_batching(model: nn.Module, inputs: Mapping[str, Any], *, rounded: bool) -> BatchingCheck:
    """Compare the gradients of the rows of a padded batch with those of each row alone.

    Args:
        model: The model, without dropout.
        inputs: A padded batch of B examples, on the device of the model.
        rounded: Whether anything is computed in lower precision than float32.
    """
    layout = GradientLayout.of(model)
    batched = _batched(model, inputs, layout)
    sink = Materialise(layout, len(inputs["input_ids"]))
    run_sequentially(model, inputs, response_cross_entropy, layout, [sink])
    alone = sink.gradients
    differences = (batched - alone).norm(dim=1) / alone.norm(dim=1).clamp(min=1e-12)
    lengths = inputs["attention_mask"].sum(1).tolist()
    return BatchingCheck(
        [float("inf") if value != value else value for value in differences.tolist()],
        lengths,
        ROUNDED_TOLERANCE if rounded else EXACT_TOLERANCE,
    )


def check_engine(kind: Any, model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Run the gradient engine of the settings on a batch, with its own check against autograd.

    Raises:
        GradientError: The engine cannot compute the per-example gradients of this model.
    """
    engine, sinks = GradientEngine(kind, model, GradientLayout.of(model)), list[Sink]()
    engine(model, inputs, response_cross_entropy, sinks)


def move_zeros(model: nn.Module) -> None:
    """Give small random numbers to trainable parameters that are all zero.

    In a new LoRA adapter B is 0, so the gradient of A is 0 too and cannot be checked. This changes the model.
    """
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=SMALL_WEIGHT)


def _batched(model: nn.Module, inputs: Mapping[str, Any], layout: GradientLayout) -> Tensor:
    """Gradient of each example's loss in one padded batch, shape (B, P), by one backward for each example."""
    parameters = list(layout.parameters(model).values())
    gradients = layout.zeros(len(inputs["input_ids"]))
    with torch.enable_grad():
        losses = response_cross_entropy(model, inputs)
        for row, loss in enumerate(losses):
            found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            for (_, piece), gradient in zip(layout.pieces(gradients[row]), found, strict=True):
                if gradient is not None:
                    piece.copy_(gradient)
    return gradients
