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
from dualselect.data.checks import normalized_prompt
from dualselect.data.token_columns import lengths_of
from dualselect.selection import rows_needed, spread
from dualselect.training.config import DualSelectConfig
from dualselect.training.harmless import check_enough, harmless_conversations
from dualselect.training.preparation import PreparedRows, contrast_rows, prepare_rows
from dualselect.training.sides import check_pool, sides_of


logger = logging.getLogger(__name__)

NO_CATEGORY = "(no category)"
MOST_CATEGORIES = 32
"""Most categories with their own direction; the largest are chosen. Each direction is as large as the adapter."""
HARMLESS_KINDS = ("chat", "lookalike")
HARMLESS_ROWS = 32
"""Most harmless conversations used for the harmless direction and for scores, spread over their kinds."""
FILTER_ROWS = 400
"""Most built-in harmless rows of each kind that calibrate the filter."""

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
        sides: The side of each safe response, as in training.
        filter_rows: Harmless conversations that calibrate the filter; see `training/harmless.py`.
        filter_tokens: The same, tokenized.
    """

    prepared: PreparedRows
    contrasts: Dataset
    harmless: Dataset
    harmless_tokens: Dataset
    sides: list[int]
    filter_rows: Dataset
    filter_tokens: Dataset

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
        rest = [index for index, name in enumerate(self.harmless["id"]) if name not in ids]
        filters = [index for index, name in enumerate(self.filter_rows["id"]) if name not in ids]
        return replace(
            self,
            harmless=self.harmless.select(rest),
            harmless_tokens=self.harmless_tokens.select(rest),
            filter_rows=self.filter_rows.select(filters),
            filter_tokens=self.filter_tokens.select(filters),
        )

    def of_references(self, positions: Sequence[int]) -> "Pool":
        """The pool with only some of its references."""
        prepared = replace(self.prepared, tokens=self.prepared.tokens.select(positions))
        sides = [self.sides[position] for position in positions]
        return replace(self, prepared=prepared, contrasts=self.contrasts.select(positions), sides=sides)

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
    sides = sides_of(prepared, config)
    contrasts = contrast_rows(prepared, tokenizer, contrast_config, sides)
    check_pool(prepared.tokens, contrasts, config.reference_top_k)
    assert contrasts is not None
    harmless_rows = builtin_harmless() if harmless is None else as_conversations(harmless, name="harmless")
    tokens = _tokenized(harmless_rows, tokenizer, config)
    if harmless is not None and len(tokens) > HARMLESS_ROWS:
        logger.info("using %d of %d harmless conversations, spread over their kinds", HARMLESS_ROWS, len(tokens))
    taken = {normalized_prompt(prompt) for prompt in conversations["prompt"]}
    filter_rows = harmless_conversations(_enough(harmless, config), taken, config.harmless_drop_rate, FILTER_ROWS)
    filter_tokens = _tokenized(filter_rows, tokenizer, config)
    filter_rows = filter_rows.select(filter_tokens["row_index"])
    check_enough(filter_rows["kind"], config)
    harmless_rows = harmless_rows.select(tokens["row_index"])
    return Pool(prepared, contrasts, harmless_rows, tokens, sides, filter_rows, filter_tokens)


def _tokenized(rows: Dataset, tokenizer: Any, config: DualSelectConfig) -> Dataset:
    return tokenize(
        rows,
        tokenizer,
        max_length=config.max_length,
        prompt_format=config.prompt_format,
        mask_mode=config.mask_mode,
        scope=config.supervise,
        name="harmless",
    ).dataset


def _enough(harmless: Dataset | None, config: DualSelectConfig) -> Dataset | None:
    """The user's harmless rows if they are enough to calibrate the filter."""
    needed = rows_needed(config.harmless_drop_rate)
    if harmless is None or len(harmless) >= needed:
        return harmless
    logger.warning(
        "harmless_data has %d rows: the filter needs %d of a kind at harmless_drop_rate %g, so only built-in rows "
        "calibrate it",
        len(harmless),
        needed,
        config.harmless_drop_rate,
    )
    return None


def builtin_harmless() -> Dataset:
    """All built-in harmless conversations: ordinary chat alternating with harmless look-alikes."""
    columns = [builtin_rows(kind, HARMLESS_ROWS * 4) for kind in HARMLESS_KINDS]
    rows = [row for pair in zip(*columns, strict=True) for row in pair]
    return as_conversations(Dataset.from_list(rows), name="harmless")
