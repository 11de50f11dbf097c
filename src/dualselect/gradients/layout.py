"""A gradient as one flat vector: which stretch belongs to which parameter, and the geometry of such vectors.

Shapes: B examples, P trainable parameters in all.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError


NORM_FLOOR = 1e-12
"""A gradient shorter than this has no direction; its cosine to anything is 0."""

ExampleLosses = Callable[[nn.Module, Mapping[str, Any]], Tensor]
"""From a model and a padded batch to the loss of each example, shape (B,), each the mean over its own tokens."""


@dataclass(frozen=True)
class GradientLayout:
    """Where each trainable parameter lies in a flat gradient of length P.

    Attributes:
        names: Names of the trainable parameters, in the order of `model.named_parameters()`.
        shapes: Their shapes.
        slices: Their stretches of the flat vector.
        device: The one device that all of them are on.
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    slices: tuple[slice, ...]
    device: torch.device

    @classmethod
    def of(cls, model: nn.Module) -> "GradientLayout":
        """Lay out the trainable parameters of a model.

        Raises:
            GradientError: Nothing is trainable, or the trainable parameters are on several devices.
        """
        trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        if not trainable:
            raise GradientError("the model has no trainable parameter: pass a peft_config, or unfreeze a layer")
        devices = {parameter.device for _, parameter in trainable}
        if len(devices) > 1:
            raise GradientError(
                f"trainable parameters are spread over {sorted(map(str, devices))}; a gradient must be on one "
                "device: load the model without device_map, or with all of it on one"
            )
        slices, start = [], 0
        for _, parameter in trainable:
            slices.append(slice(start, start + parameter.numel()))
            start += parameter.numel()
        names, parameters = zip(*trainable, strict=True)
        return cls(names, tuple(parameter.shape for parameter in parameters), tuple(slices), devices.pop())

    @property
    def size(self) -> int:
        """P, the number of trainable parameters."""
        return self.slices[-1].stop

    def parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """The trainable parameters of `model` by name, in the order of the layout.

        Raises:
            GradientError: The model's trainable parameters are no longer those of the layout.
        """
        trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        if tuple(trainable) != self.names:
            changed = sorted(set(trainable).symmetric_difference(self.names))
            raise GradientError(f"the trainable parameters changed during the run: {', '.join(changed[:5])}")
        return trainable

    def zeros(self, *leading: int) -> Tensor:
        """A float32 tensor of zeros of shape (*leading, P) on the device of the parameters."""
        return torch.zeros(*leading, self.size, device=self.device)

    def pieces(self, flat: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Name and view, shape (..., *parameter shape), of each parameter's stretch of `flat`, shape (..., P)."""
        for name, shape, stretch in zip(self.names, self.shapes, self.slices, strict=True):
            yield name, flat[..., stretch].unflatten(-1, shape)

    def assign(self, model: nn.Module, gradient: Tensor) -> None:
        """Put a flat gradient, shape (P,), into `.grad` of the model's trainable parameters."""
        parameters = self.parameters(model)
        for name, piece in self.pieces(gradient):
            parameters[name].grad = piece.to(parameters[name].dtype)


def cosines(gradients: Tensor, direction: Tensor) -> Tensor:
    """Cosine of each gradient, shape (B, P), to a direction, shape (P,), over all trainable parameters: shape (B,)."""
    norms = torch.linalg.vector_norm(gradients, dim=-1)
    return cosines_of(gradients @ direction, norms, torch.linalg.vector_norm(direction))


def cosines_of(dots: Tensor, norms: Tensor, other_norms: Tensor) -> Tensor:
    """Cosines from dot products and norms of shapes that broadcast to theirs.

    Returns:
        The shape of `dots`, in [-1, 1]; 0 where either norm is below `NORM_FLOOR`.
    """
    short = (norms < NORM_FLOOR) | (other_norms < NORM_FLOOR)
    cosine = dots / (norms * other_norms).masked_fill(short, 1.0)
    return cosine.masked_fill(short, 0.0).clamp(-1.0, 1.0)
