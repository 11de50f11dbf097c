"""The loss of each example of a batch: the response cross-entropy, and how far a response moved from the start model.

Batches are padded or packed (`segments.py`); a packed batch has shape (1, N) where (B, T) is written.

Shapes: B examples, T tokens, S supervised tokens of all examples, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.models.segments import Segments, model_arguments


KL_CHUNK_POSITIONS = 256
"""Positions that `response_kl` scores at a time: 128 MiB for a float32 tensor at a vocabulary of 128k."""
KL_TENSORS = 4


def response_cross_entropy(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Mean cross-entropy of each example over its own supervised tokens.

    Args:
        model: A causal language model with the fused head that `trl.SFTTrainer` installs, which never holds the
            (B, T, V) logits.
        inputs: `input_ids`, `labels`, and `attention_mask` or `position_ids`, each (B, T); label -100 is not
            supervised. The first label of a packed example is -100.

    Returns:
        Shape (B,), float32, differentiable.
    """
    return mean_over_tokens(score_responses(model, inputs), inputs)


def score_responses(model: nn.Module, inputs: Mapping[str, Any]) -> Any:
    """TRL's fused head on the S supervised tokens of a batch and on no other position.

    On its own it scores every position of the batch wherever Triton does not run; with a vocabulary of 49,152 these
    are a third of a small model's work on a CPU.

    Args:
        model: As for `response_cross_entropy`.
        inputs: As for `response_cross_entropy`.

    Returns:
        TRL's outputs, `log_probs` and the like of shape (1, S), the examples one after the other.
    """
    targets = inputs["labels"][:, 1:]
    supervised = targets != IGNORED_LABEL
    with only_positions(model, supervised):
        return model(**model_arguments(inputs), shift_labels=targets[supervised][None], fused_lm_head=True)


@contextmanager
def only_positions(model: nn.Module, wanted: Tensor) -> Iterator[None]:
    """The backbone hands on the hidden states of these positions only, (B, T-1) to (1, S)."""

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, :-1][wanted][None]
        return output

    hook = _causal_model(model).base_model.register_forward_hook(keep)
    try:
        yield
    finally:
        hook.remove()


def mean_over_tokens(outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
    """Mean negative log-probability of each example over its supervised tokens.

    Args:
        outputs: Of `score_responses`.
        inputs: The same batch.

    Returns:
        Shape (B,), float32, differentiable.
    """
    return mean_per_example(-outputs.log_probs.float(), inputs)


def response_logits(model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
    """Logits at the positions that predict the supervised tokens of a batch, shape (S, V), float32, differentiable.

    Args:
        model: As for `response_cross_entropy`.
        inputs: As for `response_cross_entropy`.
    """
    with only_positions(model, inputs["labels"][:, 1:] != IGNORED_LABEL):
        logits: Tensor = model(**model_arguments(inputs)).logits[0]
    return logits.float()


def response_kl(
    model: nn.Module, start_model: Callable[[], AbstractContextManager[Any]], inputs: Mapping[str, Any]
) -> Tensor:
    """Mean KL(start || now) of each example over the positions that predict its supervised tokens.

    The head runs on `KL_CHUNK_POSITIONS` positions at a time: at most `KL_TENSORS` float32 tensors of shape
    (KL_CHUNK_POSITIONS, V) are held at once, for any S.

    Args:
        model: The model as it is now, with its adapter.
        start_model: Makes the context under which `model` is the start model.
        inputs: As for `response_cross_entropy`.

    Returns:
        Shape (B,), float32, 0 or more, without gradient.
    """
    supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
    with torch.no_grad():
        now = _hidden_states(model, inputs, supervised)
        with start_model():
            start = _hidden_states(model, inputs, supervised)
        chunks = zip(now.split(KL_CHUNK_POSITIONS), start.split(KL_CHUNK_POSITIONS), strict=True)
        divergence = torch.cat([_kl_of_hidden_states(model, start_model, *chunk) for chunk in chunks])
    return mean_per_example(divergence, inputs)


def _hidden_states(model: nn.Module, inputs: Mapping[str, Any], wanted: Tensor) -> Tensor:
    """Hidden states before the head at the wanted positions, shape (S, H)."""
    states: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> Any:
        states.append(output.last_hidden_state[:, :-1][wanted])
        output.last_hidden_state = output.last_hidden_state[:1, :1]  # the head has nothing more to do
        return output

    hook = _causal_model(model).base_model.register_forward_hook(keep)
    try:
        model(**model_arguments(inputs))
    finally:
        hook.remove()
    return states[0]


def _kl_of_hidden_states(
    model: nn.Module, start_model: Callable[[], AbstractContextManager[Any]], now: Tensor, start: Tensor
) -> Tensor:
    """KL(start || now) at each position from the hidden states before the head, each (C, H); shape (C,)."""
    log_probabilities = _head_log_probabilities(model, now)
    with start_model():
        return kl_per_token(log_probabilities, _head_log_probabilities(model, start))


def _head_log_probabilities(model: nn.Module, states: Tensor) -> Tensor:
    """Log-probabilities from hidden states (C, H), by the model's own head, with its scaling and capping: (C, V)."""
    causal_model = _causal_model(model)
    name = causal_model.base_model_prefix
    backbone = getattr(causal_model, name)
    setattr(causal_model, name, _Returning(states[None]))
    try:
        logits: Tensor = model(input_ids=torch.zeros(1, len(states), dtype=torch.long), use_cache=False).logits[0]
    finally:
        setattr(causal_model, name, backbone)
    return logits.float().log_softmax(-1)


class _Returning(nn.Module):
    """A backbone that returns given hidden states, shape (1, C, H)."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states

    def forward(self, *_args: Any, **_options: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=self.states)


def _causal_model(model: nn.Module) -> Any:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def kl_per_token(now: Tensor, start: Tensor) -> Tensor:
    """KL(start || now) at each position.

    Args:
        now: Log-probabilities of the current model, shape (S, V).
        start: Log-probabilities of the start model, shape (S, V).

    Returns:
        Shape (S,), in nats.
    """
    return nn.functional.kl_div(now, start, log_target=True, reduction="none").sum(-1)


def mean_per_example(values: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Mean over the supervised tokens of each example.

    Args:
        values: One value per supervised token, shape (S,) or (1, S), examples concatenated.
        inputs: Their batch.

    Returns:
        Shape (B,).
    """
    supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
    per_position = values.new_zeros(supervised.shape).masked_scatter(supervised, values)
    segments = Segments.of(inputs)
    if segments is None:
        means: Tensor = per_position.sum(1) / supervised.sum(1)
        return means
    # nothing predicts the first token of the row, so the first segment has a position less; each segment is summed on
    # its own, in the same order at every call, which `index_add` on a GPU is not
    sizes = [segments.sizes[0] - 1, *segments.sizes[1:]]
    parts = zip(per_position[0].split(sizes), supervised[0].split(sizes), strict=True)
    return torch.stack([part.sum() / wanted.sum() for part, wanted in parts])
