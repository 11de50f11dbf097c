"""Which trainable parameters the taps see, and which they cannot see, by reason."""

from dataclasses import dataclass, field

from torch import nn

from dualselect.gradients import GradientLayout
from dualselect.gradients.taps import trainable_modules


@dataclass(frozen=True)
class Coverage:
    """What the taps see of a model.

    Attributes:
        layers: Linear layers whose weights or biases are trained.
        seen: Trainable numbers of these layers.
        trainable: Trainable numbers in all.
        frozen: Numbers that are not trained.
        unseen: Names of the trainable parameters that the taps cannot see, by reason.
    """

    layers: int
    seen: int
    trainable: int
    frozen: int
    unseen: dict[str, list[str]] = field(default_factory=dict)

    def describe(self) -> list[str]:
        """A few lines for the terminal."""
        lines = [
            f"trainable: {self.trainable:,} of {self.trainable + self.frozen:,} parameters",
            f"seen by the taps: {self.seen:,} parameters in {self.layers:,} linear layers",
        ]
        for reason, names in self.unseen.items():
            more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
            lines.append(f"not seen by the taps: {', '.join(names[:3])}{more}: {reason}")
        return lines


def coverage(model: nn.Module) -> Coverage:
    """What the taps see of a model.

    Raises:
        GradientError: Nothing is trainable, or the trainable parameters are on several devices.
    """
    layout = GradientLayout.of(model)
    unseen: dict[str, list[str]] = {}
    layers = seen = 0
    for module, own in trainable_modules(model, layout):
        if isinstance(module, nn.Linear):
            layers, seen = layers + 1, seen + sum(module.get_parameter(key).numel() for key in own)
        else:
            reason = f"a parameter of {type(module).__name__}, which is not a linear layer"
            unseen.setdefault(reason, []).extend(own.values())
    everything = sum(parameter.numel() for parameter in model.parameters())
    return Coverage(layers, seen, layout.size, everything - layout.size, unseen)
