"""Per-example gradients of the trainable parameters: taps see them, sinks keep what is needed."""

from dualselect.gradients.count_sketch import CountSketch
from dualselect.gradients.engine import GradientEngine
from dualselect.gradients.layout import GradientLayout, cosines
from dualselect.gradients.sequential import run_sequentially
from dualselect.gradients.sinks import Materialise, Score, Sink, Sketch, Sum
from dualselect.gradients.taps import Taps, tapped_layers


__all__ = [
    "CountSketch",
    "GradientEngine",
    "GradientLayout",
    "Materialise",
    "Score",
    "Sink",
    "Sketch",
    "Sum",
    "Taps",
    "cosines",
    "run_sequentially",
    "tapped_layers",
]
