"""SafeGrad: the update may not move the model away from what it said to harmful prompts at the start."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.gradients.losses import kl_per_token, mean_per_example, only_positions
from dualselect.methods.memory import Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.selection import project_conflict


@dataclass(frozen=True)
class SafeGrad(Method):
    """Projection against the gradient of a divergence from the start model, which is then added (arXiv 2508.07172).

        a = gradient of the mean KL(start || now) on the response tokens of a batch of the pool
        g <- g - min(0, <g, a>) / |a|^2 * a + alignment_weight * a

    The paper's code is not public: the direction of the KL and the weight are this project's reading. At the first
    step a is 0 and nothing is corrected.

    Attributes:
        alignment_weight: Strength of the added alignment gradient (paper: lambda), 0 or more.
        memory_size: Rows of the pool drawn at each step.
    """

    paper: ClassVar[str] = "SafeGrad, arXiv 2508.07172"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool", "reference_logits"})
    name: str = "safegrad"
    alignment_weight: float = 1.0
    memory_size: int = 8

    def __post_init__(self) -> None:
        check_range(self, "alignment_weight", low=0)
        check_count(self, "memory_size")

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _SafeGradUpdate(run, self)


class _SafeGradUpdate(Update):
    def __init__(self, run: Run, method: SafeGrad) -> None:
        super().__init__(run)
        self._memory, self._weight = Memory(run, method.memory_size), method.alignment_weight

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if step == 0:  # the model is the start model: what is left of the gradient is rounding, and has a direction
            return gradient
        alignment = self._memory.gradient(self._divergences)
        return project_conflict(gradient, alignment) + self._weight * alignment

    def _divergences(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Mean KL(start || now) of each example over the positions that predict its response, shape (B,)."""
        supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
        with torch.no_grad(), self.run.start_model():
            start = self._log_probabilities(model, inputs, supervised)
        now = self._log_probabilities(model, inputs, supervised)
        return mean_per_example(kl_per_token(now, start), supervised)

    @staticmethod
    def _log_probabilities(model: nn.Module, inputs: Mapping[str, Any], supervised: Tensor) -> Tensor:
        """Of the whole vocabulary, at the supervised positions only, shape (positions, V)."""
        without_labels = {name: value for name, value in inputs.items() if name != "labels"}
        with only_positions(model, supervised):
            log_probabilities: Tensor = model(**without_labels, use_cache=False).logits[0].float().log_softmax(-1)
        return log_probabilities
