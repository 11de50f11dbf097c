"""What a model thinks of given responses: their log-likelihood, and how far its predictions moved from a start model.

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
from dualselect.gradients.losses import kl_per_token


@dataclass(frozen=True)
class Asked:
    """A response whose likelihood is asked for; neither text may be blank."""

    prompt: Turns
    response: str


def token_rows(asked: Sequence[Asked], tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat) -> Dataset:
    """Prompts and responses as tokens, supervised on the responses; one row for each, in order."""
    columns = {
        "prompt": [one.prompt for one in asked],
        "completion": [[{"role": "assistant", "content": one.response}] for one in asked],
    }
    read = batch_tokenizer(tokenizer, max_length=None, prompt_format=prompt_format, name="responses")
    tokens = read(columns, range(len(asked)))
    return Dataset.from_dict({name: tokens[name] for name in ("input_ids", "labels")})


def log_likelihoods(
    model: nn.Module, rows: Dataset, *, batch_size: int, done: Collection[int] = ()
) -> Iterator[dict[int, list[float]]]:
    """Log-likelihood of each response under a model.

    Args:
        model: A causal language model in evaluation mode.
        rows: Of `token_rows`.
        batch_size: Rows of a forward pass.
        done: Numbers of rows that need none; a batch of these only is left out, batches do not depend on them.

    Yields:
        For each batch, by number of the row: the sum over its response's tokens, in nats, and their number.
    """

    def of_batch(batch: Mapping[str, Tensor]) -> Tensor:
        targets = batch["labels"][:, 1:]
        return _log_probabilities(model, batch).gather(1, targets[targets != IGNORED_LABEL][:, None])[:, 0]

    for numbers, values in _batches(rows, batch_size, done, model, of_batch):
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
    """Mean KL(start || now) of each response over the positions that predict its tokens.

    Args:
        model: The model as it is now, in evaluation mode.
        start_model: The start model; may be the same, then `start` makes it what it was.
        rows: Of `token_rows`.
        batch_size: Rows of a forward pass. Two tensors of (S, V) are held at a time.
        start: Makes the context under which `start_model` is the start model, such as its adapter off.
        done: As for `log_likelihoods`.

    Yields:
        For each batch the divergence in nats, 0 or more, by number of the row.
    """

    def of_batch(batch: Mapping[str, Tensor]) -> Tensor:
        now = _log_probabilities(model, batch)
        with start():
            before = _log_probabilities(start_model, batch)
        return kl_per_token(now, before)

    for numbers, values in _batches(rows, batch_size, done, model, of_batch):
        yield {number: max(0.0, float(value.mean())) for number, value in zip(numbers, values, strict=True)}


def _batches(
    rows: Dataset,
    size: int,
    done: Collection[int],
    model: nn.Module,
    per_token: Callable[[Mapping[str, Tensor]], Tensor],
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Numbers of the rows of each batch, and for each row a value of each of its supervised tokens."""
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
    first = int(supervised.any(0).nonzero()[0])  # before it no row has a response: the head need not run there
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        use_cache=False,
        logits_to_keep=supervised.shape[1] + 1 - first,
    ).logits
    return logits[:, :-1][supervised[:, first:]].float().log_softmax(-1)
