"""Weight averaging: the final adapter is the moving average over training."""

from dataclasses import dataclass
from typing import ClassVar

from dualselect.methods.method import Method, Run, Update, check_range, set_weights, weights_of


@dataclass(frozen=True)
class Ema(Method):
    """An exponential moving average of the adapter over the optimizer steps (arXiv 2508.12531).

        average <- decay * average + (1 - decay) * weights,    starting at the initial weights

    Training itself is plain; the average is saved. It starts at the initial weights, so that it stays close to them
    with few steps or a large decay.

    Attributes:
        decay: In [0, 1). The paper's value is not known to us; at 0.95 the average spans about 20 steps.
    """

    paper: ClassVar[str] = "arXiv 2508.12531"
    name: str = "ema"
    decay: float = 0.95

    def __post_init__(self) -> None:
        check_range(self, "decay", low=0, high=1, below=True)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _EmaUpdate(run, self)


class _EmaUpdate(Update):
    def __init__(self, run: Run, method: Ema) -> None:
        super().__init__(run)
        self._decay, self._average = method.decay, weights_of(run)

    def after_step(self) -> None:
        self._average.lerp_(weights_of(self.run), 1.0 - self._decay)

    def finish(self) -> None:
        set_weights(self.run, self._average)
