"""SafeGrad: the update does not move the model away from the start model on safe responses, to first order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dualselect.methods.memory import Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.models.losses import kl_per_token, mean_per_example, response_logits
from dualselect.selection import project_conflict


@dataclass(frozen=True)
class SafeGrad(Method):
    """Project against the gradient of the divergence from the start model, and add that gradient (arXiv 2508.07172).

        a = gradient of the mean KL(start || current) on the response tokens of a batch of the pool
        g <- g - min(0, <g, a>) / |a|^2 * a + alignment_weight * a

    The paper's code is not public; the direction of the KL and the weight are this project's interpretation. At the
    first step a is 0, so that there is no correction.

    Attributes:
        alignment_weight: Strength of the added alignment gradient (paper: lambda), 0 or more.
        memory_size: Pool rows sampled per step.
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
        if step == 0:  # the model equals the start model: the gradient is rounding noise
            return gradient
        alignment = self._memory.gradient(self._divergences)
        return project_conflict(gradient, alignment) + self._weight * alignment

    def _divergences(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Mean KL(start || current) of each example over its response tokens, shape (B,)."""
        with torch.no_grad(), self.run.start_model():
            start = response_logits(model, inputs).log_softmax(-1)
        current = response_logits(model, inputs).log_softmax(-1)
        return mean_per_example(kl_per_token(current, start), inputs)
