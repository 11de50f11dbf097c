"""Per-example gradients of the trainable parameters."""

from dualselect.gradients.layout import GradientLayout, PerExampleGradients, cosines, refuse_non_finite
from dualselect.gradients.sequential import sequential_gradients
from dualselect.gradients.taps import tapped_gradients


__all__ = [
    "GradientLayout",
    "PerExampleGradients",
    "cosines",
    "refuse_non_finite",
    "sequential_gradients",
    "tapped_gradients",
]
