"""From rows to the numbers that scores are made of: one forward and backward of each, and more where asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualselect.auditing.bearings import Bearings
from dualselect.auditing.engine import OPENING_TOKENS, Engine, TokenRow
from dualselect.auditing.scores import NUMBERS
from dualselect.data.tokens import batch_tokenizer
from dualselect.losses import IGNORED_LABEL


CONTROL, COMPLIED = "control_loss", "complied_loss"
"""The numbers of a row that are taken with other adapters."""


@dataclass(frozen=True)
class Measuring:
    """What measures rows.

    Attributes:
        engine: The model.
        bearings: What rows are compared with.
        tokenizer: The model's.
        answers: Safe answers of the pool that the rows' prompts are tried with; none to leave `answer_loss` out.
        warm: The adapter after the warm-up, shape (P,).
        tuned: The adapter that `CONTROL` is taken with and the one of `COMPLIED`, each of shape (P,); either may be
            left out.
    """

    engine: Engine
    bearings: Bearings
    tokenizer: Any
    answers: Sequence[str]
    warm: Tensor
    tuned: Mapping[str, Tensor]

    def tokenize(self, conversations: Sequence[Mapping[str, Any]]) -> list[TokenRow]:
        """Conversations as tokens; rows without a response that fits have no label."""
        if not conversations:
            return []
        columns = {name: [row[name] for row in conversations] for name in ("prompt", "completion", "id")}
        found = self._batch_tokenizer(columns, range(len(conversations)))
        return [
            {"input_ids": tokens, "labels": labels}
            for tokens, labels in zip(found["input_ids"], found["labels"], strict=True)
        ]

    def numbers(self, rows: Sequence[TokenRow], conversations: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """The numbers of n rows.

        Args:
            rows: Tokens, each with a supervised one.
            conversations: The same rows as conversations.

        Returns:
            `NUMBERS`, shape (n,); `categories` (n, C); `references`, the cosine to each kept reference, (n, K). What
            was not asked for is NaN.
        """
        if not rows:
            return self._of_nothing()
        order = sorted(range(len(rows)), key=lambda place: (len(rows[place]["input_ids"]), place))
        size = self.engine.config.reference_micro_batch_size
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        found = [self._of_batch([rows[place] for place in part]) for part in parts]
        values = {name: _in_order(order, [part[name] for part in found]) for name in found[0]}
        for name in NUMBERS:
            values.setdefault(name, np.full(len(rows), np.nan))
        if self.answers:
            values["answer_loss"] = self._answer_losses(conversations, parts)
        for name, adapter in self.tuned.items():
            values[name] = self._losses_with(adapter, rows, order, parts)
        return values

    def _of_nothing(self) -> dict[str, np.ndarray]:
        wide = {"categories": len(self.bearings.categories), "references": len(self.bearings.kept)}
        return {name: np.empty(0) for name in NUMBERS} | {name: np.empty((0, size)) for name, size in wide.items()}

    def _of_batch(self, rows: Sequence[TokenRow]) -> dict[str, Tensor]:
        found = self.engine.row_gradients(rows)
        return {
            "loss": found.losses,
            "opening_loss": found.opening_losses,
            **self.bearings.numbers(found.gradients),
        }

    def _losses_with(
        self, adapter: Tensor, rows: Sequence[TokenRow], order: list[int], parts: list[list[int]]
    ) -> np.ndarray:
        self.engine.set_parameters(adapter)
        try:
            return _in_order(order, [self.engine.losses([rows[place] for place in part]) for part in parts])
        finally:
            self.engine.set_parameters(self.warm)

    def _answer_losses(self, conversations: Sequence[Mapping[str, Any]], parts: list[list[int]]) -> np.ndarray:
        order = [place for part in parts for place in part]
        total = np.zeros(len(conversations))
        for answer in self.answers:
            completion = [{"role": "assistant", "content": answer}]
            asked = self.tokenize([{**row, "completion": completion} for row in conversations])
            openings = [_opening(row) for row in asked]
            total += _in_order(order, [self.engine.losses([openings[place] for place in part]) for part in parts])
        return total / len(self.answers)

    @cached_property
    def _batch_tokenizer(self) -> Callable[..., dict[str, list[Any]]]:
        config = self.engine.config
        return batch_tokenizer(
            self.tokenizer,
            max_length=config.max_length,
            prompt_format=config.prompt_format,
            mask_mode=config.mask_mode,
            name="task",
        )


def is_supervised(row: TokenRow) -> bool:
    """Whether a row has a label: the first token of a row is not predicted by anything."""
    return any(label != IGNORED_LABEL for label in row["labels"][1:])


def supervised_tokens(row: TokenRow) -> int:
    """Number of tokens with a label."""
    return sum(label != IGNORED_LABEL for label in row["labels"][1:])


def _opening(row: TokenRow) -> TokenRow:
    """The row up to the first supervised tokens; without one, its last token is taken."""
    first = next((place for place, label in enumerate(row["labels"]) if label != IGNORED_LABEL), None)
    if first is None:
        tokens = list(row["input_ids"])
        return {"input_ids": tokens, "labels": [IGNORED_LABEL] * (len(tokens) - 1) + tokens[-1:]}
    end = first + OPENING_TOKENS
    return {"input_ids": row["input_ids"][:end], "labels": row["labels"][:end]}


def _in_order(order: Sequence[int], parts: Sequence[Tensor]) -> np.ndarray:
    """Values of batches, put back into the order of the rows."""
    joined = torch.cat(list(parts)).double().cpu().numpy()
    values = np.empty_like(joined)
    values[np.asarray(order)] = joined
    return values
