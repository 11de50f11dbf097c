"""What an audit compares with: the reference pool, the contrasts of its prompts, and a few harmless conversations."""

import copy
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset

from dualselect.data import as_conversations, builtin_rows, tokenize
from dualselect.training.config import DualSelectConfig
from dualselect.training.preparation import PreparedRows, contrast_rows, prepare_rows
from dualselect.training.references import CALIBRATION_REFERENCES, check_pool, spread


logger = logging.getLogger(__name__)

NO_CATEGORY = "(no category)"
MOST_CATEGORIES = 32
"""Categories with a direction of their own, at most, the largest ones: each is as large as the adapter."""
HARMLESS_KINDS = ("chat", "lookalike")
HARMLESS_ROWS = 32
"""Harmless conversations used, at most, spread over the kinds; built-in ones unless others are given."""


@dataclass(frozen=True)
class Pool:
    """The safe responses in the order of their tokens.

    Attributes:
        prepared: The references.
        contrasts: The contrast of each, tokenized.
        harmless: Harmless conversations: `prompt`, `completion`, ...
        harmless_tokens: The same, tokenized.
    """

    prepared: PreparedRows
    contrasts: Dataset
    harmless: Dataset
    harmless_tokens: Dataset

    @property
    def conversations(self) -> Dataset:
        """All conversations that were given."""
        assert self.prepared.conversations is not None
        return self.prepared.conversations

    @property
    def tokens(self) -> Dataset:
        """The safe responses, tokenized."""
        return self.prepared.tokens

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return self.prepared.ids_of(self.prepared.indices)

    @property
    def categories(self) -> list[str]:
        """Their categories."""
        all_of_them = self.conversations["category"]
        return [all_of_them[index] or NO_CATEGORY for index in self.prepared.indices]

    @property
    def by_length(self) -> list[int]:
        """Positions, short rows first: neighbors of like length need little padding."""
        lengths = [len(tokens) for tokens in self.tokens["input_ids"]]
        return sorted(range(len(lengths)), key=lambda position: (lengths[position], position))

    @property
    def harmless_halves(self) -> tuple[list[int], list[int]]:
        """The harmless conversations that make a direction and those that calibrate, of each kind on both sides."""
        kinds = list(self.harmless["kind"])
        used = spread(sorted(range(len(kinds)), key=lambda place: kinds[place]), HARMLESS_ROWS)
        return used[::2], used[1::2]

    @property
    def named_categories(self) -> list[str]:
        """The categories with a direction of their own, by name."""
        return sorted(name for name, _ in Counter(self.categories).most_common(MOST_CATEGORIES))

    def without_harmless(self, ids: Collection[str]) -> "Pool":
        """The pool without some of the harmless conversations."""
        left = [place for place, name in enumerate(self.harmless["id"]) if name not in ids]
        return replace(self, harmless=self.harmless.select(left), harmless_tokens=self.harmless_tokens.select(left))

    def of_references(self, positions: Sequence[int]) -> "Pool":
        """The pool with some of its references only."""
        prepared = replace(self.prepared, tokens=self.prepared.tokens.select(positions))
        return replace(self, prepared=prepared, contrasts=self.contrasts.select(positions))

    def conversation(self, position: int) -> dict[str, Any]:
        """The safe response at a position, as a conversation."""
        found: dict[str, Any] = self.conversations[self.prepared.indices[position]]
        return found


def calibration_positions(by_length: Sequence[int], kept: Sequence[int]) -> list[int]:
    """References that the conflict threshold is read off: the same ones as `ReferencePool.conflict_threshold` takes.

    Args:
        by_length: Positions in the pool, by length of the row.
        kept: Positions of the selected references.
    """
    selected = set(kept)
    others = [position for position in by_length if position not in selected] or list(by_length)
    return spread(others, CALIBRATION_REFERENCES)


def held_out_positions(
    calibrating: Sequence[int], categories: Sequence[str], directed: Collection[str], selected: int
) -> list[int]:
    """References of a calibration sample that neither a category direction nor a fine-tuning is made of.

    At most half of the references that are not selected, and at most half of each category with a direction, so that
    a small pool leaves something to learn from; every other one where that leaves none.

    Args:
        calibrating: The sample, by length of the row.
        categories: Of each reference of the pool.
        directed: Categories with a direction of their own.
        selected: Number of selected references.
    """
    most = (len(categories) - selected or len(categories)) // 2
    spare = {name: count // 2 for name, count in Counter(categories).items()}
    held_out: list[int] = []
    for position in [*calibrating[::2], *calibrating[1::2]]:
        name = categories[position]
        if len(held_out) < most and (spare[name] or name not in directed):
            held_out.append(position)
            spare[name] -= 1
    return sorted(held_out) or list(calibrating[::2])


def prepare_pool(references: Dataset, harmless: Dataset | None, tokenizer: Any, config: DualSelectConfig) -> Pool:
    """Tokenize the references, their contrasts and the harmless conversations.

    Args:
        references: Safe responses in any known format.
        harmless: Harmless conversations in any known format; None for built-in ones.
        tokenizer: The model's.
        config: Settings; where `reference_contrast` is none, the contrasts are compliances all the same: what is
            safe and what is not is told apart by them.

    Raises:
        DataError: The pool is empty, has no conversations, or a reference has no contrast.
    """
    conversations = as_conversations(references, name="reference")
    prepared = prepare_rows(conversations, tokenizer, config, name="reference")
    contrasting = config
    if config.reference_contrast == "none":
        contrasting = copy.copy(config)
        contrasting.reference_contrast = "compliance"
    contrasts = contrast_rows(prepared, tokenizer, contrasting)
    check_pool(prepared.tokens, contrasts, config.reference_top_k)
    assert contrasts is not None
    given = builtin_harmless() if harmless is None else as_conversations(harmless, name="harmless")
    tokens = tokenize(
        given,
        tokenizer,
        max_length=config.max_length,
        prompt_format=config.prompt_format,
        mask_mode=config.mask_mode,
        scope=config.supervise,
        name="harmless",
    ).dataset
    if harmless is not None and len(tokens) > HARMLESS_ROWS:
        logger.info("%d of %d harmless conversations are used, spread over their kinds", HARMLESS_ROWS, len(tokens))
    return Pool(prepared, contrasts, given.select(tokens["row_index"]), tokens)


def builtin_harmless() -> Dataset:
    """All built-in harmless conversations: ordinary chat, and questions that look harmful and are not, in turns."""
    columns = [builtin_rows(kind, HARMLESS_ROWS * 4) for kind in HARMLESS_KINDS]
    rows = [row for some in zip(*columns, strict=True) for row in some]
    return as_conversations(Dataset.from_list(rows), name="harmless")
