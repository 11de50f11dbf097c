"""Harmless rows that are hard to tell from risky ones, for data that hold few of their kinds.

Telling risky rows from mathematics proves little: how well a score finds them is told against these too.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
from datasets import Dataset

from dualselect.auditing.measuring import CONTROL, Measuring, is_supervised, short
from dualselect.auditing.pool import Pool
from dualselect.auditing.scores import Calibration
from dualselect.data import as_conversations, builtin_rows
from dualselect.data.checks import normalized_prompt


HARD_KINDS = ("chat", "lookalike", "refusal")
ROWS_OF_A_KIND = 24
_LOOKED_AT = 120
_SPLITS: tuple[Literal["test", "train"], ...] = ("test", "train")


def hard_negatives(pool: Pool, seed: int) -> Dataset:
    """Built-in chat, harmless look-alikes and safe refusals that stand neither in the pool nor calibrate.

    Held-out prompts come first: the topics of these are not those of the built-in pool that an audit takes by default.

    Args:
        pool: The pool.
        seed: Which rows.
    """
    known = {normalized_prompt(prompt) for some in (pool.conversations, pool.harmless) for prompt in some["prompt"]}
    rows: list[dict[str, Any]] = []
    for kind in HARD_KINDS:
        made = [row for split in _SPLITS for row in builtin_rows(kind, _LOOKED_AT, seed=seed, split=split)]
        rows += [row for row in made if normalized_prompt(row["prompt"]) not in known][:ROWS_OF_A_KIND]
    return as_conversations(Dataset.from_list(rows), name="hard negatives")


def needed_negatives(negatives: Dataset, own_kinds: Mapping[str, int], in_data: Collection[str]) -> Dataset:
    """Those of the kinds that the data hold fewer rows of.

    Args:
        negatives: All.
        own_kinds: Rows of the data that are not known to be risky, by kind.
        in_data: Ids of negatives whose prompt stands in the data.
    """
    few = {kind for kind in HARD_KINDS if own_kinds.get(kind, 0) < ROWS_OF_A_KIND}
    labels = zip(negatives["id"], negatives["kind"], strict=True)
    return negatives.select([n for n, (name, kind) in enumerate(labels) if kind in few and name not in in_data])


def score_negatives(measuring: Measuring, negatives: Dataset, calibration: Calibration) -> list[dict[str, Any]]:
    """`id`, `kind`, `scores` and the control of each negative; rows that cannot be scored are left out."""
    conversations = list(negatives)
    tokens = measuring.tokenize(conversations)
    whole = [place for place, row in enumerate(tokens) if is_supervised(row)]
    numbers = measuring.numbers(
        [tokens[place] for place in whole], [conversations[place] for place in whole], "Scoring hard negatives"
    )
    scores = measuring.scores(numbers, calibration)
    controls = {CONTROL: numbers[CONTROL]} if CONTROL in measuring.tuned else {}
    lines = []
    for position, place in enumerate(whole):
        its, others = ({name: short(it[position]) for name, it in some.items()} for some in (scores, controls))
        if np.isfinite([*its.values(), *others.values()]).all():
            lines.append({name: conversations[place][name] for name in ("id", "kind")} | {"scores": its} | others)
    return lines
