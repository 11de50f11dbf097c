"""How a model represents a response: the hidden states of one layer, averaged over the response's tokens."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ModelError
from dualselect.models.segments import Segments


DEPTH = 0.6
"""Which decoder layer is read, as a share of all (measured: docs/results.md)."""

ExampleLosses = Callable[[nn.Module, Mapping[str, Any]], Tensor]
"""Maps a model and a batch of B examples to losses of shape (B,)."""


class ResponseStates:
    """Collects the representations of responses while their losses are computed.

    Args:
        model: A model with decoder layers, with or without an adapter.

    Raises:
        ModelError: It has no decoder layers of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
        if not layers:
            raise ModelError(
                f"{type(model).__name__} has no decoder layers of transformers, whose hidden states "
                "task_token_budget: auto reads: write task_token_budget: 0.9"
            )
        self._layer = layers[max(0, round(DEPTH * len(layers)) - 1)]
        self._found: list[Tensor] = []

    def during(self, example_losses: ExampleLosses) -> ExampleLosses:
        """The same losses; each call also collects the representations of its examples."""

        def losses(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
            outputs: list[Tensor] = []

            def keep(_module: nn.Module, _args: Any, output: Any) -> None:
                outputs.append((output[0] if isinstance(output, tuple) else output).detach())

            hook = self._layer.register_forward_hook(keep)
            try:
                found = example_losses(model, inputs)
            finally:
                hook.remove()
            self._found.append(mean_over_response(outputs[0], inputs))
            return found

        return losses

    def take(self) -> Tensor:
        """The representations collected since the last call, shape (B, H), float32, in the order of the examples."""
        found, self._found = self._found, []
        return torch.cat(found)


def mean_over_response(states: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Mean hidden state of each example over its supervised tokens.

    Args:
        states: Shape (B, T, H), or (1, N, H) for a packed batch.
        inputs: The batch, with `labels`.

    Returns:
        Shape (B, H), float32; 0 for an example without a supervised token.
    """
    supervised = (inputs["labels"] != IGNORED_LABEL).to(states.device)
    states = states.float() * supervised[..., None]
    segments = Segments.of(inputs)
    if segments is None:
        sums, counts = states.sum(1), supervised.sum(1)
    else:  # segment by segment: `index_add` on a GPU does not always add in the same order
        sums = torch.stack([part.sum(0) for part in states[0].split(segments.sizes)])
        counts = torch.stack([part.sum() for part in supervised[0].split(segments.sizes)])
    return sums / counts.clamp(min=1)[:, None]
