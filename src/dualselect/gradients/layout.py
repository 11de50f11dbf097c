"""A gradient as one flat vector: which stretch belongs to which parameter, and the geometry of such vectors.

Shapes: B examples, P trainable parameters in all.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.errors import GradientError


logger = logging.getLogger(__name__)

ALLOW_MORE = " To train without these rows, raise max_nonfinite_fraction."
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
    """Cosine of each gradient to a direction, over all trainable parameters together.

    Args:
        gradients: Shape (B, P).
        direction: Shape (P,).

    Returns:
        Shape (B,), in [-1, 1]; 0 where either norm is below `NORM_FLOOR`.
    """
    norms = torch.linalg.vector_norm(gradients, dim=-1) * torch.linalg.vector_norm(direction)
    short = (torch.linalg.vector_norm(gradients, dim=-1) < NORM_FLOOR) | (
        torch.linalg.vector_norm(direction) < NORM_FLOOR
    )
    cosine = (gradients @ direction) / norms.masked_fill(short, 1.0)
    return cosine.masked_fill(short, 0.0).clamp(-1.0, 1.0)


def check_non_finite(
    values: Tensor, ids: Sequence[str], what: str, *, at_most: float = 0.0, of: int | None = None, before: int = 0
) -> list[int]:
    """Warn of rows whose number is NaN or infinite; stop when they are too many.

    Args:
        values: One number per row, shape (n,).
        ids: The n row ids.
        what: What the numbers are, for the message.
        at_most: Largest share of such rows, in [0, 1].
        of: Rows that it is a share of; n if None.
        before: Such rows counted before these.

    Returns:
        Positions of the rows whose number is finite.

    Raises:
        GradientError: The share is larger, or all n rows are such rows; the message names rows.
    """
    finite = torch.isfinite(values)
    bad = (~finite).nonzero().flatten().tolist()
    if bad:
        rows = ", ".join(ids[position] for position in bad[:5]) + (", ..." if len(bad) > 5 else "")
        seen = f"{what} is not finite for {len(bad)} of {len(ids)} rows (row ids: {rows})"
        if len(bad) == len(ids) or before + len(bad) > at_most * (of or len(ids)):
            raise GradientError(
                f"{seen}; nothing was updated. Look at these rows. If they are sound, lower learning_rate or train in "
                f"float32, and resume from the last checkpoint.{ALLOW_MORE if at_most else ''}"
            )
        logger.warning("%s: they are left out", seen)
    return finite.nonzero().flatten().tolist()
