"""Judges: responses to verdicts, each a value or unscored with a reason."""

from dualselect.judges.both_orders import BothOrders
from dualselect.judges.loading import load_judge
from dualselect.judges.protocol import (
    Judge,
    JudgeAccuracy,
    Judged,
    JudgeSettings,
    Pair,
    PairwiseJudge,
    Verdict,
    hash_of,
)
from dualselect.judges.refusal import is_refusal


__all__ = [
    "BothOrders",
    "Judge",
    "JudgeAccuracy",
    "JudgeSettings",
    "Judged",
    "Pair",
    "PairwiseJudge",
    "Verdict",
    "hash_of",
    "is_refusal",
    "load_judge",
]
