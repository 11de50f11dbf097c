"""From rows to the numbers that scores are made of: one forward and backward of each, and more where asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualselect.auditing.bearings import Bearings
from dualselect.auditing.engine import OPENING_TOKENS, Engine, TokenRow
from dualselect.auditing.scores import NUMBERS, SCORES, Calibration, Numbers
from dualselect.data.conversations import TEMPLATE_COLUMNS
from dualselect.data.tokens import IGNORED_LABEL, batch_tokenizer
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig


RowTokenizer = Callable[[Sequence[Mapping[str, Any]]], list[TokenRow]]

CONTROL, COMPLIED = "control_loss", "complied_loss"
"""The numbers of a row that are taken with other adapters."""
DIGITS = 6


@dataclass(frozen=True)
class Measuring:
    """What measures rows.

    Attributes:
        engine: The model.
        bearings: What rows are compared with.
        tokenize: From conversations to tokens, of `row_tokenizer`.
        answers: Safe answers of the pool that the rows' prompts are tried with; none to leave `answer_loss` out.
        warm: The adapter after the warm-up, shape (P,).
        tuned: The adapter that `CONTROL` is taken with and the one of `COMPLIED`, each of shape (P,); either may be
            left out.
    """

    engine: Engine
    bearings: Bearings
    tokenize: RowTokenizer
    answers: Sequence[str]
    warm: Tensor
    tuned: Mapping[str, Tensor]

    def numbers(
        self, rows: Sequence[TokenRow], conversations: Sequence[Mapping[str, Any]], what: str = ""
    ) -> dict[str, np.ndarray]:
        """The numbers of n rows.

        Args:
            rows: Tokens, each with a supervised one.
            conversations: The same rows as conversations.
            what: What a progress bar calls it; none when left out.

        Returns:
            `NUMBERS`, shape (n,); `categories` (n, C); `references`, the cosine to each kept reference, (n, K). What
            was not asked for is NaN.
        """
        if not rows:
            return self._of_nothing()
        order = sorted(range(len(rows)), key=lambda place: (len(rows[place]["input_ids"]), place))
        config = self.engine.config
        size, quiet = config.reference_micro_batch_size, config.disable_tqdm or not what
        found: list[dict[str, Tensor]] = []
        for part in in_batches(order, size, description=what, unit="row", quiet=quiet):
            of_part = [rows[place] for place in part]
            found.append(self._of_batch(of_part))
            if self.answers:
                found[-1]["answer_loss"] = self._answer_losses([conversations[place] for place in part])
            for name, adapter in self.tuned.items():
                found[-1][name] = self._losses_with(adapter, of_part)
        values = {name: _in_order(order, [part[name] for part in found]) for name in found[0]}
        return {name: np.full(len(rows), np.nan) for name in NUMBERS} | values

    def scores(self, numbers: Numbers, calibration: Calibration) -> dict[str, np.ndarray]:
        """Every score whose numbers are taken, each of shape (n,)."""
        return {
            name: score.of(numbers, calibration)
            for name, score in SCORES.items()
            if (self.answers or not score.with_answers) and (COMPLIED in self.tuned or not score.with_tuning)
        }

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

    def _losses_with(self, adapter: Tensor, rows: Sequence[TokenRow]) -> Tensor:
        self.engine.set_parameters(adapter)
        try:
            return self.engine.losses(rows)
        finally:
            self.engine.set_parameters(self.warm)

    def _answer_losses(self, conversations: Sequence[Mapping[str, Any]]) -> Tensor:
        losses = []
        for answer in self.answers:
            completion = [{"role": "assistant", "content": answer}]
            asked = self.tokenize([{**row, "completion": completion} for row in conversations])
            losses.append(self.engine.losses([_opening(row) for row in asked]).cpu().double())
        return torch.stack(losses).mean(0)


def row_tokenizer(tokenizer: Any, config: DualSelectConfig) -> RowTokenizer:
    """What turns conversations into tokens as a training does; rows without a response that fits have no label."""
    batch = batch_tokenizer(
        tokenizer,
        max_length=config.max_length,
        prompt_format=config.prompt_format,
        mask_mode=config.mask_mode,
        scope=config.supervise,
        name="task",
    )
    columns = ("prompt", "completion", "id", *TEMPLATE_COLUMNS)

    def tokenize(conversations: Sequence[Mapping[str, Any]]) -> list[TokenRow]:
        if not conversations:
            return []
        given = {name: [row.get(name) for row in conversations] for name in columns}
        found = batch(given, range(len(conversations)))
        return [
            {"input_ids": tokens, "labels": labels}
            for tokens, labels in zip(found["input_ids"], found["labels"], strict=True)
        ]

    return tokenize


def short(value: float) -> float:
    """A number as it is kept, with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


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
    joined = torch.cat(list(parts)).cpu().double().numpy()
    values = np.empty_like(joined)
    values[np.asarray(order)] = joined
    return values
