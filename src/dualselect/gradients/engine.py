"""The gradient engine of a run: taps or one example at a time, checked against autograd while the run begins."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from dualselect.gradients.layout import ExampleLosses, GradientLayout
from dualselect.gradients.sequential import run_sequentially
from dualselect.gradients.sinks import Sink
from dualselect.gradients.taps import Taps


VERIFIED_STEPS = 10
"""Optimizer steps, at most, in which the first batch of per-example gradients is checked against autograd."""


class GradientEngine:
    """Hands the per-example gradients of a model's batches to sinks.

    Args:
        kind: `taps`, one batched forward and backward for linear layers; `sequential`, one example at a time for
            anything trainable.
        model: The model.
        layout: The layout of its trainable parameters.

    Raises:
        GradientError: `taps` cannot see a trainable parameter; the message names it.
    """

    def __init__(self, kind: Literal["taps", "sequential"], model: nn.Module, layout: GradientLayout) -> None:
        self.layout = layout
        self._taps = Taps(model, layout) if kind == "taps" else None
        # the gradient of LoRA's A is zero until B has moved, so the check goes on until it has seen all parameters
        self.unverified = set(layout.names)
        self._verified_steps: set[int] = set()

    def __call__(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        example_losses: ExampleLosses,
        sinks: Sequence[Sink],
        *,
        step: int = 0,
    ) -> Tensor:
        """Loss of each example of a batch, shape (B,), float32, detached; the sinks collect the gradients.

        Args:
            model: The model.
            inputs: A batch of B examples, padded or packed.
            example_losses: From model and inputs to losses of shape (B,).
            sinks: Each made for this batch.
            step: Optimizer steps done; the first batch of each of the first steps is verified.
        """
        if self._taps is None:
            return run_sequentially(model, inputs, example_losses, self.layout, sinks)
        unverified = None
        if step not in self._verified_steps and len(self._verified_steps) < VERIFIED_STEPS:
            self._verified_steps.add(step)
            unverified = self.unverified
        return self._taps.run(model, inputs, example_losses, sinks, unverified=unverified)
