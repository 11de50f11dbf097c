"""The gradient engine of a run: taps or one example at a time, checked against autograd while the run begins."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import nn

from dualselect.gradients.layout import ExampleLosses, GradientLayout, PerExampleGradients
from dualselect.gradients.sequential import sequential_gradients
from dualselect.gradients.taps import tapped_gradients, tapped_layers


VERIFIED_STEPS = 10
"""Optimizer steps, at most, in which the first batch of per-example gradients is checked against autograd."""


class GradientEngine:
    """Per-example gradients of a model.

    Args:
        kind: `taps`, one batched forward and backward for linear layers; `sequential`, one example at a time for
            anything trainable.
        model: The model.
        layout: The layout of its trainable parameters.

    Raises:
        GradientError: `taps` cannot see a trainable parameter; the message names it.
    """

    def __init__(self, kind: Literal["taps", "sequential"], model: nn.Module, layout: GradientLayout) -> None:
        self._kind, self._layout = kind, layout
        if kind == "taps":
            tapped_layers(model, layout)
        # the gradient of LoRA's A is zero until B has moved, so the check goes on until it has seen all parameters
        self.unverified = set(layout.names)
        self._verified_steps: set[int] = set()

    def __call__(
        self, model: nn.Module, inputs: Mapping[str, Any], example_losses: ExampleLosses, *, step: int
    ) -> PerExampleGradients:
        """Loss and gradient of each example of a batch.

        Args:
            model: The model.
            inputs: A batch of B examples.
            example_losses: From model and inputs to losses of shape (B,).
            step: Optimizer steps done; the first batch of each of the first steps is verified.
        """
        if self._kind == "sequential":
            return sequential_gradients(model, inputs, example_losses, self._layout)
        unverified = None
        if step not in self._verified_steps and len(self._verified_steps) < VERIFIED_STEPS:
            self._verified_steps.add(step)
            unverified = self.unverified
        return tapped_gradients(model, inputs, example_losses, self._layout, unverified=unverified)
