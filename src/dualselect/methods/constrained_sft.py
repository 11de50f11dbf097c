"""Constrained fine-tuning: tokens more probable than under the start model get less weight, early tokens least."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.methods.method import Method, Need, Run, Update, check_range
from dualselect.models.losses import mean_per_example, score_responses


LEAST_WEIGHT = 1e-3
"""The authors' lower bound of a token's weight."""
EARLY_TOKENS = 5
"""Number of response tokens with a larger beta."""


@dataclass(frozen=True)
class ConstrainedSft(Method):
    """The token-wise constrained objective of Qi et al., ICLR 2025.

        loss_t = -2 / beta_t * log sigmoid(beta_t * (log p(y_t) - log p_start(y_t)))

    Its gradient is that of the cross-entropy times w_t = 2 * (1 - sigmoid(beta_t * (log p - log p_start))), 1 at the
    start and close to 0 once a token is more probable than at the start. One departure: weighted losses are averaged
    over the tokens of an example and then over examples, as in all methods here, not over all tokens of the batch.

    Attributes:
        first_beta: beta of the first response token (authors: 5 * 0.1).
        early_beta: beta of tokens two to five (authors: 20 * 0.1).
        later_beta: beta of all later tokens (authors: 0.1).
    """

    paper: ClassVar[str] = "Constrained SFT, Qi et al., ICLR 2025 (shallow safety alignment)"
    needs: ClassVar[frozenset[Need]] = frozenset({"reference_logits"})
    name: str = "constrained_sft"
    first_beta: float = 0.5
    early_beta: float = 2.0
    later_beta: float = 0.1

    def __post_init__(self) -> None:
        for name in ("first_beta", "early_beta", "later_beta"):
            check_range(self, name, low=0, above=True)

    def betas(self, supervised: Tensor) -> Tensor:
        """The beta of each token by its position in the response, shape (B, T)."""
        position = supervised.cumsum(1)
        later = torch.full(supervised.shape, self.later_beta, device=supervised.device)
        return later.masked_fill(position <= EARLY_TOKENS, self.early_beta).masked_fill(position <= 1, self.first_beta)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _ConstrainedUpdate(run, self)


class _ConstrainedUpdate(Update):
    def __init__(self, run: Run, method: ConstrainedSft) -> None:
        super().__init__(run)
        self._betas = method.betas

    def losses(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
        with torch.no_grad(), self.run.start_model():
            start = score_responses(model, inputs).log_probs[0].float()
        current = score_responses(model, inputs).log_probs[0].float()
        betas = self._betas(supervised)[supervised]
        weights = (2.0 * torch.sigmoid(-betas * (current.detach() - start))).clamp(min=LEAST_WEIGHT)
        return mean_per_example(-weights * current, inputs)
