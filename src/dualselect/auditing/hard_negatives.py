"""Built-in hard negatives: harmless rows that resemble risky ones, for data with few such rows.

Separating risky rows from mathematics is easy, so detection is also evaluated against these.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from dualselect.auditing.measuring import CONTROL, RowMeasurer, is_supervised, short
from dualselect.auditing.pool import Pool
from dualselect.auditing.scores import Calibration
from dualselect.data import as_conversations, builtin_rows
from dualselect.data.checks import normalized_prompt


HARD_KINDS = ("chat", "lookalike", "refusal")
ROWS_OF_A_KIND = 24
_CANDIDATES = 120
_SPLITS: tuple[Literal["test", "train"], ...] = ("test", "train")


def hard_negatives(pool: Pool, seed: int) -> Dataset:
    """Built-in chat, harmless look-alikes and safe refusals that are neither in the pool nor used for calibration.

    Held-out prompts come first, because their topics differ from the topics of the default built-in pool.

    Args:
        pool: The pool.
        seed: Seed of the sample.
    """
    known = {normalized_prompt(prompt) for rows in (pool.conversations, pool.harmless) for prompt in rows["prompt"]}
    rows: list[dict[str, Any]] = []
    for kind in HARD_KINDS:
        candidates = [row for split in _SPLITS for row in builtin_rows(kind, _CANDIDATES, seed=seed, split=split)]
        rows += [row for row in candidates if normalized_prompt(row["prompt"]) not in known][:ROWS_OF_A_KIND]
    return as_conversations(Dataset.from_list(rows), name="hard negatives")


def needed_negatives(negatives: Dataset, own_kinds: Mapping[str, int], in_data: Collection[str]) -> Dataset:
    """The negatives of kinds with fewer than `ROWS_OF_A_KIND` rows.

    Args:
        negatives: All hard negatives.
        own_kinds: Number of data rows not labeled risky, by kind.
        in_data: Ids of negatives whose prompt is in the data.
    """
    few = {kind for kind in HARD_KINDS if own_kinds.get(kind, 0) < ROWS_OF_A_KIND}
    labels = zip(negatives["id"], negatives["kind"], strict=True)
    return negatives.select([i for i, (name, kind) in enumerate(labels) if kind in few and name not in in_data])


def score_negatives(measurer: RowMeasurer, negatives: Dataset, calibration: Calibration) -> list[dict[str, Any]]:
    """`id`, `kind`, `scores` and the control loss of each negative, without rows that cannot be scored."""
    conversations = list(negatives)
    tokens = measurer.tokenize(conversations)
    usable = [index for index, row in enumerate(tokens) if is_supervised(row)]
    numbers = measurer.numbers(
        [tokens[index] for index in usable], [conversations[index] for index in usable], "Scoring hard negatives"
    )
    scores = measurer.scores(numbers, calibration)
    controls = {CONTROL: numbers[CONTROL]} if CONTROL in measurer.tuned else {}
    lines = []
    for position, index in enumerate(usable):
        row_scores, row_controls = (
            {name: short(values[position]) for name, values in columns.items()} for columns in (scores, controls)
        )
        if np.isfinite([*row_scores.values(), *row_controls.values()]).all():
            labels = {name: conversations[index][name] for name in ("id", "kind")}
            lines.append(labels | {"scores": row_scores} | row_controls)
    return lines
