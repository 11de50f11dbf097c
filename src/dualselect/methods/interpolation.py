"""Interpolation: the final weights lie between those of the start and those of plain fine-tuning."""

from dataclasses import dataclass
from typing import ClassVar

from dualselect.methods.method import Method, Run, Update, check_range, set_weights, weights_of


@dataclass(frozen=True)
class Interpolation(Method):
    """Average the adapter before and after plain fine-tuning (WiSE-FT, Wortsman et al., CVPR 2022).

        w <- (1 - share) * w_start + share * w_tuned

    In a sequence of tasks this merges each new task into the model. The average is over the adapter's matrices, not
    over their product.

    Attributes:
        share: t, in [0, 1]; 1 is plain fine-tuning, 0 the start model.
    """

    paper: ClassVar[str] = "WiSE-FT, Wortsman et al., CVPR 2022"
    name: str = "interpolation"
    share: float = 0.5

    def __post_init__(self) -> None:
        check_range(self, "share", low=0, high=1)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _InterpolationUpdate(run, self)


class _InterpolationUpdate(Update):
    def __init__(self, run: Run, method: Interpolation) -> None:
        super().__init__(run)
        self._share, self._start = method.share, weights_of(run)

    def finish(self) -> None:
        if self._share < 1:
            set_weights(self.run, self._start.lerp(weights_of(self.run), self._share))
