"""LwF: on the new task's rows, the model keeps the predictions that it had at the start of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.methods.method import Method, Need, Run, Update, check_range, set_weights, weights_of
from dualselect.models.losses import kl_per_token, mean_per_example, response_cross_entropy, response_logits


@dataclass(frozen=True)
class LwF(Method):
    """Distill the model as it was at the start of the run, on the task's own rows (Li & Hoiem, ECCV 2016).

        L = L_task + strength * T^2 * KL(softmax(z_start / T) || softmax(z / T)), mean over response tokens

    It needs no memory. Each step has one forward pass more, with the weights of the start.

    Attributes:
        strength: 0 or more.
        temperature: T, above 0; the authors use 2.
    """

    paper: ClassVar[str] = "LwF, Li & Hoiem, ECCV 2016"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference_logits"})
    name: str = "lwf"
    strength: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_range(self, "strength", low=0)
        check_range(self, "temperature", low=0, above=True)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _LwFUpdate(run, self)


class _LwFUpdate(Update):
    def __init__(self, run: Run, method: LwF) -> None:
        super().__init__(run)
        self._method, self._start = method, weights_of(run)

    def losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        if not self._method.strength:
            return response_cross_entropy(model, inputs)
        heat, now = self._method.temperature, weights_of(self.run)
        set_weights(self.run, self._start)
        with torch.no_grad():
            start = (response_logits(model, inputs) / heat).log_softmax(-1)
        set_weights(self.run, now)
        logits = response_logits(model, inputs)
        kept = mean_per_example(kl_per_token((logits / heat).log_softmax(-1), start), inputs)
        targets = inputs["labels"][:, 1:]
        losses = nn.functional.cross_entropy(logits, targets[targets != IGNORED_LABEL], reduction="none")
        return mean_per_example(losses, inputs) + self._method.strength * heat**2 * kept
