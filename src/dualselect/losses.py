"""The loss of each example of a batch: the response cross-entropy, and how far a response moved from the start model.

Shapes: B examples, T tokens, V vocabulary.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn


IGNORED_LABEL = -100


def response_cross_entropy(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Mean cross-entropy of each example over its own supervised tokens.

    Args:
        model: A causal language model with the fused head that `trl.SFTTrainer` installs, which never holds the
            (B, T, V) logits.
        inputs: `input_ids`, `attention_mask` and `labels`, each (B, T); label -100 is not supervised.

    Returns:
        Shape (B,), float32, differentiable.
    """
    return mean_over_tokens(model(**inputs, fused_lm_head=True))


def mean_over_tokens(outputs: Any) -> Tensor:
    """Mean negative log-probability of each example, shape (B,), from the outputs of TRL's fused head."""
    losses: Tensor = -outputs.log_probs.float().sum(1) / outputs.label_mask.sum(1)
    return losses


def response_kl(
    model: nn.Module, start_model: Callable[[], AbstractContextManager[Any]], inputs: Mapping[str, Any]
) -> Tensor:
    """Mean KL(start || now) of each example over the positions that predict its supervised tokens.

    Args:
        model: The model as it is now, with its adapter.
        start_model: Makes the context under which `model` is the start model.
        inputs: As for `response_cross_entropy`. Holds two (B, T, V) tensors at a time.

    Returns:
        Shape (B,), float32, 0 or more, without gradient.
    """
    supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
    without_labels = {name: value for name, value in inputs.items() if name != "labels"}
    with torch.no_grad():
        now = model(**without_labels, use_cache=False).logits[:, :-1].float().log_softmax(-1)
        with start_model():
            start = model(**without_labels, use_cache=False).logits[:, :-1].float().log_softmax(-1)
    divergence = nn.functional.kl_div(now, start, log_target=True, reduction="none").sum(-1)
    return (divergence * supervised).sum(1) / supervised.sum(1)
