"""Held-out harmless rows, which calibrate what the filter drops (`task_token_budget: auto`)."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, concatenate_datasets
from torch import nn

from dualselect.data import as_conversations
from dualselect.data.builtin import rows_up_to
from dualselect.data.checks import normalized_prompt
from dualselect.errors import ConfigError, DataError
from dualselect.selection import ConflictFilter, Probe, rows_needed
from dualselect.training.config import DualSelectConfig
from dualselect.training.nonfinite import check_non_finite
from dualselect.training.preparation import PreparedRows, prepare_rows
from dualselect.training.references import ReferencePool
from dualselect.training.refresh import Directions


logger = logging.getLogger(__name__)

KINDS = ("chat", "lookalike", "task")
"""Built-in kinds of harmless rows."""
ROWS_PER_KIND, LONG_RUN = 199, 1000
"""Rows of each kind if there are 1,000 task rows or more, if `harmless_drop_rate` does not need more.

They are scored at every refresh. At a rate of 0.01, one of 199 may exceed the threshold, so that a single unusual row
does not set it. A shorter run takes as many as the rate needs, 99.
"""
YOURS = "harmless data"
"""Kind of the rows that the user gives without a `kind`."""


@dataclass(frozen=True)
class HarmlessRows:
    """Tokenized harmless rows.

    Attributes:
        prepared: The rows.
        kinds: The kind of each row of `prepared.tokens`.
        max_nonfinite: Largest share of rows whose gradient may be not finite, in [0, 1].
    """

    prepared: PreparedRows
    kinds: list[str]
    max_nonfinite: float

    @property
    def tokens(self) -> Dataset:
        """`input_ids` and `labels` of the n rows."""
        return self.prepared.tokens

    def calibrated(
        self, model: nn.Module, pool: ReferencePool, directions: Directions, probe: Probe | None
    ) -> ConflictFilter:
        """The filter, calibrated on these rows; rows whose gradient is not finite are left out.

        Raises:
            GradientError: More than `max_nonfinite_fraction` of the rows are not finite.
        """
        cosines, probed = pool.scores_of(model, self.tokens, directions, probe, "Calibrating on harmless rows")
        ids = self.prepared.ids_of(self.prepared.indices)
        check_non_finite(cosines, ids, "the loss or gradient of harmless rows", at_most=self.max_nonfinite)
        return ConflictFilter.calibrated(probe, cosines, probed, self.kinds)


def harmless_rows(
    given: Dataset | None, others: Mapping[str, PreparedRows], tokenizer: Any, config: DualSelectConfig
) -> HarmlessRows | None:
    """The tokenized harmless rows of a training.

    Args:
        given: The user's harmless rows in any known format; None for built-in ones only. Their `kind` is kept.
        others: Task rows and references, by role. Harmless rows with the same prompts are left out.
        tokenizer: The model's tokenizer.
        config: Settings.

    Returns:
        None unless `task_token_budget` is `auto`.

    Raises:
        ConfigError: `harmless_drop_rate` needs more rows of a kind than there are.
        DataError: The user's rows are too few, or their format is unknown.
    """
    if not config.filters_by_conflict:
        if given is not None:
            logger.warning("the harmless rows are not used: they calibrate task_token_budget: auto")
        return None
    taken = {
        normalized_prompt(prompt)
        for rows in others.values()
        if rows.conversations is not None
        for prompt in rows.conversations["prompt"]
    }
    per_kind = rows_of_a_kind(len(others["train"].tokens), config.harmless_drop_rate)
    rows = harmless_conversations(given, taken, config.harmless_drop_rate, per_kind)
    prepared = prepare_rows(rows, tokenizer, config, name="harmless")
    kinds = [prepared.kinds[index] for index in prepared.indices]
    check_enough(kinds, config)
    return HarmlessRows(prepared, kinds, config.max_nonfinite_fraction)


def rows_of_a_kind(task_rows: int, rate: float) -> int:
    """Built-in harmless rows of each kind that calibrate a training.

    Args:
        task_rows: Number of task rows.
        rate: `harmless_drop_rate`.
    """
    return max(ROWS_PER_KIND if task_rows >= LONG_RUN else 1, rows_needed(rate))


def harmless_conversations(given: Dataset | None, taken: set[str], rate: float, per_kind: int) -> Dataset:
    """Built-in rows of every kind and the user's own ones.

    Args:
        given: As for `harmless_rows`.
        taken: Prompts that are used for something else, by `normalized_prompt`.
        rate: `harmless_drop_rate`.
        per_kind: Built-in rows of each kind, if the rate does not need more and there are as many.

    Returns:
        Conversations with `id`, `prompt`, `completion` and `kind`.

    Raises:
        ConfigError, DataError: As for `harmless_rows`.
    """
    needed = rows_needed(rate)
    parts = [_builtin(kind, max(per_kind, needed), needed, taken, rate) for kind in KINDS]
    parts += [] if given is None else [_own(given, needed, taken)]
    return concatenate_datasets([part.select_columns(["id", "prompt", "completion", "kind"]) for part in parts])


def check_enough(kinds: Sequence[str], config: DualSelectConfig) -> None:
    """Check that truncation left enough rows of each kind, and log how many there are.

    Raises:
        DataError: A kind has too few.
    """
    counts, needed = Counter(kinds), rows_needed(config.harmless_drop_rate)
    if short := {kind: count for kind, count in counts.items() if count < needed}:
        raise DataError(
            f"max_length {config.max_length} leaves too few harmless rows to calibrate on ({_counts(short)}, {needed} "
            "needed of each kind): raise max_length, raise harmless_drop_rate, or set task_token_budget: 0.9"
        )
    logger.info("the filter is calibrated on %d harmless rows: %s", len(kinds), _counts(counts))


def _builtin(kind: str, wanted: int, needed: int, taken: set[str], rate: float) -> Dataset:
    rows = rows_up_to(kind, wanted + len(taken), seed=_SEED)
    apart = [row for row in rows if normalized_prompt(row["prompt"]) not in taken]
    if len(apart) < needed:
        raise ConfigError(
            f"harmless_drop_rate {rate:g} needs {needed} harmless rows of each kind, but only "
            f"{len(apart)} built-in rows of kind {kind} are in neither the task data nor the pool: write at least "
            f"{1 / (len(apart) + 1):.2g}, or a number for task_token_budget"
        )
    return as_conversations(Dataset.from_list(apart[:wanted]).remove_columns("answer"), name="harmless")


def _own(given: Dataset, needed: int, taken: set[str]) -> Dataset:
    rows = as_conversations(given, name="harmless")
    apart = [index for index, prompt in enumerate(rows["prompt"]) if normalized_prompt(prompt) not in taken]
    if len(apart) < len(rows):
        logger.warning(
            "left out %d of %d harmless rows, whose prompt is also in the task data or the pool",
            len(rows) - len(apart),
            len(rows),
        )
    rows = rows.select(apart)
    kinds = [kind or YOURS for kind in rows["kind"]]
    few = {kind for kind, count in Counter(kinds).items() if count < needed}
    kinds = [YOURS if kind in few else kind for kind in kinds]  # kinds with few rows count as one
    if (count := kinds.count(YOURS)) and count < needed:
        raise DataError(
            f"harmless_data: {count} rows of a kind with too few rows, but harmless_drop_rate needs {needed} of each "
            "kind: give more rows, leave out those of this kind, or raise harmless_drop_rate"
        )
    return rows.remove_columns("kind").add_column("kind", kinds)


_SEED = 19
"""Of the built-in rows: the order in which they are taken."""


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
