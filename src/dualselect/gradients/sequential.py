"""Per-example gradients one example at a time: the oracle of the tests and the engine for anything trainable."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError
from dualselect.gradients.layout import ExampleLosses, GradientLayout, PerExampleGradients


def sequential_gradients(
    model: nn.Module, inputs: Mapping[str, Any], example_losses: ExampleLosses, layout: GradientLayout
) -> PerExampleGradients:
    """Loss and gradient of each example by autograd, one unpadded example after the other.

    Args:
        model: Any model; every trainable parameter is covered.
        inputs: A batch of B examples with `attention_mask`, tensors of shape (B, T).
        example_losses: From model and inputs to losses of shape (B,).
        layout: The layout of the model's trainable parameters.

    Raises:
        GradientError: A trainable parameter has no part in an example's loss; the message names it.
    """
    parameters = layout.parameters(model)
    losses, gradients = [], layout.zeros(len(inputs["input_ids"]))
    for row, example in enumerate(single_examples(inputs)):
        with torch.enable_grad():
            loss = example_losses(model, example).sum()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        unused = [name for name, gradient in zip(layout.names, found, strict=True) if gradient is None]
        if unused:
            raise GradientError(f"{', '.join(unused[:3])} can be trained but has no part in the loss: freeze it")
        for (_, piece), gradient in zip(layout.pieces(gradients[row]), found, strict=True):
            piece.copy_(gradient)
        losses.append(loss.detach())
    return PerExampleGradients(torch.stack(losses).float(), gradients)


def single_examples(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each example of a padded batch as a batch of one, without its padding."""
    size = inputs["input_ids"].shape
    for row, mask in enumerate(inputs["attention_mask"]):
        real = mask.nonzero().flatten()
        keep = slice(int(real[0]), int(real[-1]) + 1)
        yield {
            name: value[row : row + 1, keep] if isinstance(value, Tensor) and value.shape == size else value
            for name, value in inputs.items()
        }
