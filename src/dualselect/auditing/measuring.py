"""Per-row statistics for the scores: one forward-backward pass per row, plus optional forward passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualselect.auditing.engine import OPENING_TOKENS, Engine
from dualselect.auditing.reference_directions import ReferenceDirections
from dualselect.auditing.scores import NUMBERS, SCORES, Calibration, Numbers
from dualselect.data.conversations import TEMPLATE_COLUMNS
from dualselect.data.token_columns import TokenRow
from dualselect.data.tokens import IGNORED_LABEL, batch_tokenizer
from dualselect.gradients import Score
from dualselect.models.response_states import ResponseStates
from dualselect.selection import Probe
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig


RowTokenizer = Callable[[Sequence[Mapping[str, Any]]], list[TokenRow]]

CONTROL, COMPLIED = "control_loss", "complied_loss"
"""Losses that are computed with another adapter."""
DIGITS = 6


@dataclass(frozen=True)
class RowMeasurer:
    """Computes the per-row statistics.

    Attributes:
        engine: The model.
        directions: Directions that gradients are compared with.
        tokenize: Tokenizes conversations; see `row_tokenizer`.
        answers: Safe answers for `answer_loss`, which is skipped if there are none.
        warm: The adapter after the warm-up, shape (P,).
        tuned: The adapters for `CONTROL` and `COMPLIED`, shape (P,) each; either may be missing.
        probe: The probe of the filter; None without contrasts.
    """

    engine: Engine
    directions: ReferenceDirections
    tokenize: RowTokenizer
    answers: Sequence[str]
    warm: Tensor
    tuned: Mapping[str, Tensor]
    probe: Probe | None = None

    def numbers(
        self, rows: Sequence[TokenRow], conversations: Sequence[Mapping[str, Any]], what: str = ""
    ) -> dict[str, np.ndarray]:
        """Compute the statistics of n rows.

        Args:
            rows: Tokenized rows, each with a supervised token.
            conversations: The same rows as conversations.
            what: Title of the progress bar; empty for no bar.

        Returns:
            `NUMBERS`, shape (n,) each; `categories`, shape (n, C); `references`, the cosines to the stored references,
            shape (n, K). Statistics that were not computed are NaN.
        """
        if not rows:
            return self._empty_numbers()
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]["input_ids"]), index))
        config = self.engine.config
        size, quiet = config.reference_micro_batch_size, config.disable_tqdm or not what
        batches: list[dict[str, Tensor]] = []
        for part in in_batches(order, size, description=what, unit="row", quiet=quiet):
            batch = [rows[index] for index in part]
            batches.append(self._batch_numbers(batch))
            if self.answers:
                batches[-1]["answer_loss"] = self._answer_losses([conversations[index] for index in part])
            for name, adapter in self.tuned.items():
                batches[-1][name] = self._losses_with(adapter, batch)
        values = {name: _in_order(order, [part[name] for part in batches]) for name in batches[0]}
        return {name: np.full(len(rows), np.nan) for name in NUMBERS} | values

    def filter_numbers(self, rows: Sequence[TokenRow], what: str) -> tuple[Tensor, Tensor]:
        """What the filter reads of n tokenized rows: cosine to the reference direction, and probe; shape (n,) each."""
        order = sorted(range(len(rows)), key=lambda index: (len(rows[index]["input_ids"]), index))
        size, quiet = self.engine.config.reference_micro_batch_size, self.engine.config.disable_tqdm
        cosines, probed = [], []
        for part in in_batches(order, size, description=what, unit="row", quiet=quiet):
            score = Score(self.engine.layout, len(part), self.directions.table[:1])
            states = self._states()
            losses = self.engine.run_rows([rows[index] for index in part], [score], states).losses
            cosines.append(score.cosines[0])
            probed.append(self._probed(states, losses))
        return torch.from_numpy(_in_order(order, cosines)), torch.from_numpy(_in_order(order, probed))

    def scores(self, numbers: Numbers, calibration: Calibration) -> dict[str, np.ndarray]:
        """Every score whose statistics were computed, shape (n,) each."""
        return {
            name: score.of(numbers, calibration)
            for name, score in SCORES.items()
            if (self.answers or not score.with_answers) and (COMPLIED in self.tuned or not score.with_tuning)
        }

    def _empty_numbers(self) -> dict[str, np.ndarray]:
        widths = {"categories": len(self.directions.categories), "references": len(self.directions.stored)}
        return {name: np.empty(0) for name in NUMBERS} | {name: np.empty((0, size)) for name, size in widths.items()}

    def _batch_numbers(self, rows: Sequence[TokenRow]) -> dict[str, Tensor]:
        score = Score(self.engine.layout, len(rows), self.directions.table)
        states = self._states()
        found = self.engine.run_rows(rows, [score], states)
        return {
            "loss": found.losses,
            "opening_loss": found.opening_losses,
            "probe": self._probed(states, found.losses),
            **self.directions.cosines(score),
        }

    def _states(self) -> ResponseStates | None:
        return None if self.probe is None else ResponseStates(self.engine.model)

    def _probed(self, states: ResponseStates | None, losses: Tensor) -> Tensor:
        if states is None or self.probe is None:
            return torch.zeros_like(losses)
        return self.probe.scores(states.take()).to(losses.device)

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
            answered = self.tokenize([{**row, "completion": completion} for row in conversations])
            losses.append(self.engine.losses([_opening(row) for row in answered]).cpu().double())
        return torch.stack(losses).mean(0)


def row_tokenizer(tokenizer: Any, config: DualSelectConfig) -> RowTokenizer:
    """A function that tokenizes conversations as training does. A row whose response does not fit has no labels."""
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
        values = {name: [row.get(name) for row in conversations] for name in columns}
        encoded = batch(values, range(len(conversations)))
        return [
            {"input_ids": tokens, "labels": labels}
            for tokens, labels in zip(encoded["input_ids"], encoded["labels"], strict=True)
        ]

    return tokenize


def short(value: float) -> float:
    """Round to `DIGITS` significant digits, as stored."""
    return float(f"{value:.{DIGITS}g}")


def is_supervised(row: TokenRow) -> bool:
    """Whether a row has a supervised token; the first token is never predicted."""
    return any(label != IGNORED_LABEL for label in row["labels"][1:])


def supervised_tokens(row: TokenRow) -> int:
    """Number of supervised tokens."""
    return sum(label != IGNORED_LABEL for label in row["labels"][1:])


def _opening(row: TokenRow) -> TokenRow:
    """Truncate after the first supervised tokens; a row without one keeps its last token as label."""
    first = next((index for index, label in enumerate(row["labels"]) if label != IGNORED_LABEL), None)
    if first is None:
        tokens = list(row["input_ids"])
        return {"input_ids": tokens, "labels": [IGNORED_LABEL] * (len(tokens) - 1) + tokens[-1:]}
    end = first + OPENING_TOKENS
    return {"input_ids": row["input_ids"][:end], "labels": row["labels"][:end]}


def _in_order(order: Sequence[int], parts: Sequence[Tensor]) -> np.ndarray:
    """Concatenate batches of values and restore the row order."""
    joined = torch.cat(list(parts)).cpu().double().numpy()
    values = np.empty_like(joined)
    values[np.asarray(order)] = joined
    return values
