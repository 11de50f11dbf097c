"""Per-example gradients of the trainable parameters."""

from dualselect.gradients.engine import GradientEngine
from dualselect.gradients.layout import GradientLayout, PerExampleGradients, check_non_finite, cosines
from dualselect.gradients.sequential import sequential_gradients
from dualselect.gradients.taps import tapped_gradients, tapped_layers


__all__ = [
    "GradientEngine",
    "GradientLayout",
    "PerExampleGradients",
    "check_non_finite",
    "cosines",
    "sequential_gradients",
    "tapped_gradients",
    "tapped_layers",
]
