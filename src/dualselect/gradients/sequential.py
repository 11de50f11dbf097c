"""Per-example gradients one example at a time: the oracle of the tests and the engine for anything trainable."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError
from dualselect.gradients.layer_pass import segment_bounds
from dualselect.gradients.layout import ExampleLosses, GradientLayout
from dualselect.gradients.sinks import Sink


def run_sequentially(
    model: nn.Module,
    inputs: Mapping[str, Any],
    example_losses: ExampleLosses,
    layout: GradientLayout,
    sinks: Sequence[Sink],
) -> Tensor:
    """Loss and gradient of each example by autograd, one unpadded example after the other.

    Args:
        model: Any model; every trainable parameter is covered.
        inputs: A batch of B examples as `Taps.run` takes it.
        example_losses: From model and inputs to losses of shape (B,).
        layout: The layout of the model's trainable parameters.
        sinks: Each made for this batch.

    Returns:
        Loss of each example, shape (B,), float32, detached.

    Raises:
        GradientError: A trainable parameter is not part of an example's loss; the message names it.
    """
    parameters = list(layout.parameters(model).values())
    losses = []
    for row, example in enumerate(single_examples(inputs)):
        with torch.enable_grad():
            loss = example_losses(model, example).sum()
            pieces = torch.autograd.grad(loss, parameters, allow_unused=True)
        unused = [name for name, piece in zip(layout.names, pieces, strict=True) if piece is None]
        if unused:
            raise GradientError(f"{', '.join(unused[:3])} can be trained but has no part in the loss: freeze it")
        gradient = torch.cat([piece.flatten().float() for piece in pieces])
        for sink in sinks:
            sink.add_example(row, gradient)
        losses.append(loss.detach())
    return torch.stack(losses).float()


def single_examples(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each example of a batch as a batch of one: without its padding, or cut out of a packed row."""
    size = inputs["input_ids"].shape
    bounds = segment_bounds(inputs)
    if bounds is None:
        places = []
        for row, mask in enumerate(inputs["attention_mask"]):
            real = mask.nonzero().flatten()
            places.append((row, slice(int(real[0]), int(real[-1]) + 1)))
    else:
        places = [(0, slice(*pair)) for pair in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
    for row, keep in places:
        yield {
            name: value[row : row + 1, keep] if isinstance(value, Tensor) and value.shape == size else value
            for name, value in inputs.items()
        }
