"""Log-likelihoods of given responses, and KL divergence from a start model.

Shapes: B rows, T tokens, S supervised tokens of a batch, V vocabulary.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from dualselect.data.tokens import IGNORED_LABEL, PromptFormat, batch_tokenizer
from dualselect.evaluation.suite import Turns
from dualselect.models.losses import kl_per_token


@dataclass(frozen=True)
class ScoredResponse:
    """A response to score; neither text may be blank."""

    prompt: Turns
    response: str


def token_rows(
    responses: Sequence[ScoredResponse], tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat
) -> Dataset:
    """Tokenize prompts and responses, supervised on the responses; one row each, in order."""
    columns = {
        "prompt": [one.prompt for one in responses],
        "completion": [[{"role": "assistant", "content": one.response}] for one in responses],
    }
    tokenize = batch_tokenizer(tokenizer, max_length=None, prompt_format=prompt_format, name="responses")
    tokens = tokenize(columns, range(len(responses)))
    return Dataset.from_dict({name: tokens[name] for name in ("input_ids", "labels")})


def log_likelihoods(
    model: nn.Module, rows: Dataset, *, batch_size: int, done: Collection[int] = ()
) -> Iterator[dict[int, list[float]]]:
    """Log-likelihood of each response under a model.

    Args:
        model: A causal language model in evaluation mode.
        rows: Result of `token_rows`.
        batch_size: Rows per forward pass.
        done: Numbers of rows to skip. Batches do not depend on it; a batch is skipped if all its rows are done.

    Yields:
        For each batch, by row number: the sum over the response tokens in nats, and the number of tokens.
    """

    def per_token(batch: Mapping[str, Tensor]) -> Tensor:
        targets = batch["labels"][:, 1:]
        return _log_probabilities(model, batch).gather(1, targets[targets != IGNORED_LABEL][:, None])[:, 0]

    for numbers, values in _batches(rows, batch_size, done, model, per_token):
        yield {number: [float(value.sum()), len(value)] for number, value in zip(numbers, values, strict=True)}


def divergences(
    model: nn.Module,
    start_model: nn.Module,
    rows: Dataset,
    *,
    batch_size: int,
    start: Callable[[], Any] = nullcontext,
    done: Collection[int] = (),
) -> Iterator[dict[int, float]]:
    """Mean KL(start || current) of each response over its tokens.

    Args:
        model: The current model, in evaluation mode.
        start_model: The start model; may be the same object, see `start`.
        rows: Result of `token_rows`.
        batch_size: Rows per forward pass, which holds two tensors of shape (S, V).
        start: Context manager that turns `start_model` into the start model, e.g. by disabling its adapter.
        done: See `log_likelihoods`.

    Yields:
        For each batch the divergence in nats, 0 or more, by row number.
    """

    def per_token(batch: Mapping[str, Tensor]) -> Tensor:
        current = _log_probabilities(model, batch)
        with start():
            start_log_probs = _log_probabilities(start_model, batch)
        return kl_per_token(current, start_log_probs)

    for numbers, values in _batches(rows, batch_size, done, model, per_token):
        yield {number: max(0.0, float(value.mean())) for number, value in zip(numbers, values, strict=True)}


def _batches(
    rows: Dataset,
    size: int,
    done: Collection[int],
    model: nn.Module,
    per_token: Callable[[Mapping[str, Tensor]], Tensor],
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Row numbers of each batch, and the values of each row's supervised tokens."""
    inputs, labels = rows["input_ids"], rows["labels"]
    device = next(model.parameters()).device
    by_length = sorted(range(len(rows)), key=lambda number: len(inputs[number]))
    for start in range(0, len(by_length), size):
        numbers = by_length[start : start + size]
        if all(number in done for number in numbers):
            continue
        batch = {
            "input_ids": _padded([inputs[number] for number in numbers], 0),
            "attention_mask": _padded([[1] * len(inputs[number]) for number in numbers], 0),
            "labels": _padded([labels[number] for number in numbers], IGNORED_LABEL),
        }
        with torch.no_grad():
            values = per_token({name: value.to(device) for name, value in batch.items()}).cpu().double()
        counts = (batch["labels"][:, 1:] != IGNORED_LABEL).sum(1).tolist()
        yield numbers, list(values.split(counts))


def _padded(rows: Sequence[list[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def _log_probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Log-probabilities at the positions that predict a supervised token, shape (S, V), float32."""
    supervised = batch["labels"][:, 1:] != IGNORED_LABEL
    first = int(supervised.any(0).nonzero()[0])  # skip the head before the first response token
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
        logits_to_keep=supervised.shape[1] + 1 - first,
    ).logits
    return logits[:, :-1][supervised[:, first:]].float().log_softmax(-1)
