"""Held-out harmless rows, which calibrate what the filter drops (`task_token_budget: auto`)."""

import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor, nn

from dualselect.data import as_conversations
from dualselect.data.builtin import rows_up_to
from dualselect.data.checks import normalized_prompt
from dualselect.data.token_columns import lengths_of, token_rows
from dualselect.errors import ConfigError, DataError
from dualselect.gradients import Score
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import ResponseStates
from dualselect.selection import ConflictFilter, Probe, rows_needed
from dualselect.system.processes import total_of
from dualselect.training.config import DualSelectConfig
from dualselect.training.nonfinite import check_non_finite
from dualselect.training.preparation import PreparedRows, prepare_rows
from dualselect.training.references import ReferencePool, without_dropout
from dualselect.training.refresh import Directions
from dualselect.training.selection_log import SelectionLog


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
        numbers = self._read(model, pool, directions, probe, "Calibrating on harmless rows")
        return ConflictFilter.calibrated(probe, *numbers, self.kinds)

    def opening(self, model: nn.Module, pool: ReferencePool, log: SelectionLog, rate: float) -> ConflictFilter | None:
        """The filter of the warm-up, before there is a task direction: the probe alone, by forward passes only.

        Args:
            model: The model before the first step.
            pool: The references.
            log: Gets a line of its own.
            rate: `harmless_drop_rate`.

        Returns:
            None without contrasts in the pool.
        """
        probe = pool.first_probe(model)
        if probe is None:
            return None
        numbers = self._read(model, pool, None, probe, "Reading the harmless rows")
        found = ConflictFilter.calibrated(probe, *numbers, self.kinds)
        log.append("filter", 1, conflict_threshold=found.threshold(rate), **found.facts(rate))
        return found

    def _read(
        self, model: nn.Module, pool: ReferencePool, directions: Directions | None, probe: Probe | None, what: str
    ) -> tuple[Tensor, Tensor]:
        """What the filter reads of the n rows: the lowest cosine to a side's score direction, and the probe.

        Args:
            model: The current model.
            pool: Makes batches.
            directions: Directions of the selected references; None to read the probe only.
            probe: The probe; None without one.
            what: Description for the progress bar.

        Returns:
            Cosines, shape (n,), float64, 0 without directions and NaN where a loss or gradient is not finite; and
            values of the probe, shape (n,), 0 without one.
        """
        found, lengths = torch.zeros(2, len(self.tokens), dtype=torch.float64), lengths_of(self.tokens)
        states = None if probe is None else ResponseStates(model)
        losses_of = response_cross_entropy if states is None else states.during(response_cross_entropy)
        order = np.argsort(-lengths, kind="stable").tolist()
        with without_dropout(model):
            for positions in pool.batches(order, what, pairs=False):
                batch = pool.collated(token_rows(self.tokens, positions))
                if directions is None:
                    with torch.no_grad():
                        losses_of(model, batch)
                else:
                    score = Score(pool.layout, len(positions), directions.score)
                    losses = pool.run(model, batch, losses_of, [score])
                    cosines = score.cosines.amin(0).masked_fill(~torch.isfinite(losses + score.norms), math.nan)
                    found[0, positions] = cosines.cpu().double()
                if states is not None and probe is not None:
                    found[1, positions] = probe.scores(states.take())
        cosine, probed = total_of(found)
        ids = self.prepared.ids_of(self.prepared.indices)
        check_non_finite(cosine, ids, "the loss or gradient of harmless rows", at_most=self.max_nonfinite)
        return cosine, probed


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
