"""The reference pool of an audit: safe responses, contrasts to the same prompts, and a few harmless conversations."""

import copy
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from datasets import Dataset

from dualselect.data import as_conversations, builtin_rows, tokenize
from dualselect.data.token_columns import lengths_of
from dualselect.selection import spread
from dualselect.training.config import DualSelectConfig
from dualselect.training.preparation import PreparedRows, contrast_rows, prepare_rows
from dualselect.training.references import check_pool


logger = logging.getLogger(__name__)

NO_CATEGORY = "(no category)"
MOST_CATEGORIES = 32
"""Most categories with their own direction; the largest are chosen. Each direction is as large as the adapter."""
HARMLESS_KINDS = ("chat", "lookalike")
HARMLESS_ROWS = 32
"""Most harmless conversations used, spread over their kinds."""

CALIBRATION_REFERENCES = 32
"""Largest number of references used to calibrate the conflict threshold. The mean cosine is then within about 0.02."""


@dataclass(frozen=True)
class Pool:
    """The tokenized reference pool.

    Attributes:
        prepared: The safe responses.
        contrasts: The contrast of each safe response, tokenized.
        harmless: Harmless conversations: `prompt`, `completion`, ...
        harmless_tokens: The same, tokenized.
    """

    prepared: PreparedRows
    contrasts: Dataset
    harmless: Dataset
    harmless_tokens: Dataset

    @property
    def conversations(self) -> Dataset:
        """All references as conversations."""
        assert self.prepared.conversations is not None
        return self.prepared.conversations

    @property
    def tokens(self) -> Dataset:
        """The safe responses, tokenized."""
        return self.prepared.tokens

    @property
    def ids(self) -> list[str]:
        """Reference ids, in token order."""
        return self.prepared.ids_of(self.prepared.indices)

    @property
    def categories(self) -> list[str]:
        """Reference categories, in token order."""
        categories = self.conversations["category"]
        return [categories[index] or NO_CATEGORY for index in self.prepared.indices]

    @property
    def by_length(self) -> list[int]:
        """Positions sorted by length, so that batches need little padding."""
        return np.argsort(lengths_of(self.tokens), kind="stable").tolist()

    @property
    def harmless_halves(self) -> tuple[list[int], list[int]]:
        """Positions of the harmless conversations for the harmless direction, and for calibration."""
        kinds = list(self.harmless["kind"])
        used = spread(sorted(range(len(kinds)), key=lambda index: kinds[index]), HARMLESS_ROWS)
        return used[::2], used[1::2]

    @property
    def named_categories(self) -> list[str]:
        """Names of the categories with their own direction, sorted."""
        return sorted(name for name, _ in Counter(self.categories).most_common(MOST_CATEGORIES))

    def without_harmless(self, ids: Collection[str]) -> "Pool":
        """A copy without some harmless conversations."""
        remaining = [index for index, name in enumerate(self.harmless["id"]) if name not in ids]
        return replace(
            self, harmless=self.harmless.select(remaining), harmless_tokens=self.harmless_tokens.select(remaining)
        )

    def of_references(self, positions: Sequence[int]) -> "Pool":
        """The pool with only some of its references."""
        prepared = replace(self.prepared, tokens=self.prepared.tokens.select(positions))
        return replace(self, prepared=prepared, contrasts=self.contrasts.select(positions))

    def conversation(self, position: int) -> dict[str, Any]:
        """The reference at a position, as a conversation."""
        conversation: dict[str, Any] = self.conversations[self.prepared.indices[position]]
        return conversation


def calibration_positions(by_length: Sequence[int], kept: Sequence[int]) -> list[int]:
    """References that calibrate the conflict threshold, the same as in `ReferencePool.conflict_threshold`.

    Args:
        by_length: Pool positions sorted by length.
        kept: Positions of the selected references.
    """
    selected = set(kept)
    others = [position for position in by_length if position not in selected] or list(by_length)
    return spread(others, CALIBRATION_REFERENCES)


def held_out_positions(
    calibrating: Sequence[int], categories: Sequence[str], directed: Collection[str], selected: int
) -> list[int]:
    """Calibration references that are held out of the category directions and the short fine-tuning runs.

    At most half of the unselected references and at most half of each category with its own direction are held out,
    so that enough references of a small pool remain. If this holds out no references, every second calibration
    reference is held out.

    Args:
        calibrating: The calibration references, sorted by length.
        categories: Category of each reference of the pool.
        directed: Categories with their own direction.
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
        harmless: Harmless conversations in any known format; None for the built-in ones.
        tokenizer: The model's tokenizer.
        config: Settings. If `reference_contrast` is none, compliances are used as contrasts, because calibration
            needs unsafe answers.

    Raises:
        DataError: The pool is empty or has no conversations, or a reference has no contrast.
    """
    conversations = as_conversations(references, name="reference")
    prepared = prepare_rows(conversations, tokenizer, config, name="reference")
    contrast_config = config
    if config.reference_contrast == "none":
        contrast_config = copy.copy(config)
        contrast_config.reference_contrast = "compliance"
    contrasts = contrast_rows(prepared, tokenizer, contrast_config)
    check_pool(prepared.tokens, contrasts, config.reference_top_k)
    assert contrasts is not None
    harmless_rows = builtin_harmless() if harmless is None else as_conversations(harmless, name="harmless")
    tokens = tokenize(
        harmless_rows,
        tokenizer,
        max_length=config.max_length,
        prompt_format=config.prompt_format,
        mask_mode=config.mask_mode,
        scope=config.supervise,
        name="harmless",
    ).dataset
    if harmless is not None and len(tokens) > HARMLESS_ROWS:
        logger.info("using %d of %d harmless conversations, spread over their kinds", HARMLESS_ROWS, len(tokens))
    return Pool(prepared, contrasts, harmless_rows.select(tokens["row_index"]), tokens)


def builtin_harmless() -> Dataset:
    """All built-in harmless conversations: ordinary chat alternating with harmless look-alikes."""
    columns = [builtin_rows(kind, HARMLESS_ROWS * 4) for kind in HARMLESS_KINDS]
    rows = [row for pair in zip(*columns, strict=True) for row in pair]
    return as_conversations(Dataset.from_list(rows), name="harmless")
