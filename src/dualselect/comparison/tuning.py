"""Tune settings on validation prompts, or on the loss of held-out task rows; never on test prompts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.comparison.config import Entry
from dualselect.comparison.run_plan import VALIDATION, RunPlan
from dualselect.evaluation.metrics import JUDGED
from dualselect.evaluation.results import Evaluation, SummaryRow, read_evaluation
from dualselect.evaluation.suite import Suite
from dualselect.judges import Judge
from dualselect.methods.sft import VALIDATION_LOSS
from dualselect.runs.directory import EVALUATION, METRICS_LOG


PARTS: tuple[set[tuple[str, str]], ...] = (
    {("refusal_rate", "harmful"), ("attack_success_rate", "harmful")},
    {("over_refusal_rate", "harmless")},
    {("exact_match", "task"), ("answer_probability", "task")},
)
"""(metric, suite purpose) of safety, usefulness and task."""


@dataclass(frozen=True)
class Tuning:
    """The tuning of an entry.

    Attributes:
        by: `balance` (higher is better) or `validation_loss` (lower is better).
        seed: Seed of the candidate runs.
        tried: Candidate settings and their values; None for runs that failed or have no value.
        missing: Why successful runs have no value, by title.
        chosen: Index of the best candidate, the first of equals; None while a value is missing, since that candidate
            may turn out to be the best.
    """

    by: str
    seed: int
    tried: list[tuple[dict[str, Any], float | None]]
    missing: dict[str, str]
    chosen: int | None

    def facts(self) -> dict[str, Any]:
        """As JSON values for comparison.json."""
        return {
            "by": self.by,
            "seed": self.seed,
            "runs": len(self.tried),
            "tried": [{"settings": settings, "value": value} for settings, value in self.tried],
            "chosen": None if self.chosen is None else self.tried[self.chosen][0],
        }


def tuning_of(entry: Entry, plans: list[RunPlan]) -> Tuning:
    """Read the values of an entry's candidates and choose the best.

    Args:
        entry: The entry.
        plans: Plans of its candidates, done or failed.
    """
    by = entry.method.tuned_by
    values = [_value(plan, by) for plan in plans]
    missing = {
        plan.title: _why_unknown(plan, by)
        for plan, value in zip(plans, values, strict=True)
        if value is None and plan.is_done()
    }
    known = [value for value in values if value is not None]
    chosen = None
    if len(known) == len(values):
        chosen = values.index(min(known) if by == "validation_loss" else max(known))
    return Tuning(by, entry.seeds[0], list(zip(entry.candidates, values, strict=True)), missing, chosen)


def balance(evaluation: Evaluation) -> float | None:
    """Mean of safety, usefulness and task, as far as measured, each in [0, 1].

    Safety is the mean refusal rate (or 1 - attack success rate) over judges and harmful suites; usefulness is the mean
    of 1 - over-refusal rate; task is the mean of exact match and answer probability. None if none of these was
    measured, or if a value is missing, since the mean of the others is not comparable between candidates.
    """
    parts = _parts(evaluation)
    if not parts or _without_value(parts):
        return None
    return sum(sum(map(_goodness, part)) / len(part) for part in parts) / len(parts)


def has_balance(suites: Sequence[Suite], judges: Sequence[Judge]) -> bool:
    """Whether these suites and judges measure a part of `balance`."""
    known = {("exact_match", "task") for suite in suites if suite.purpose == "task"}
    for suite in suites:
        known |= {(name, suite.purpose) for judge in judges for name in JUDGED.get((judge.measure, suite.purpose), {})}
    return any(known & part for part in PARTS)


def validation_loss(run: Path) -> float | None:
    """Loss of a run on its held-out task rows."""
    lines = [json.loads(line) for line in (run / METRICS_LOG).read_text(encoding="utf-8").splitlines()]
    return next((line[VALIDATION_LOSS] for line in reversed(lines) if VALIDATION_LOSS in line), None)


def _value(plan: RunPlan, by: str) -> float | None:
    if not plan.is_done() or plan.still_unscored():
        return None
    return validation_loss(plan.path) if by == "validation_loss" else balance(_validation(plan))


def _validation(plan: RunPlan) -> Evaluation:
    return read_evaluation(plan.path / EVALUATION / f"{VALIDATION}.json")


def _why_unknown(plan: RunPlan, by: str) -> str:
    if count := plan.still_unscored():
        return (
            f"{count} verdicts on validation prompts are missing because the judge did not answer: repeat the command "
            "to request them; if the judge is slow, raise timeout_seconds in judge_settings"
        )
    missing = [] if by == "validation_loss" else _without_value(_parts(_validation(plan)))
    what = f" ({' and '.join(missing)})" if missing else ""
    return f"it has no {by.replace('_', ' ')}, because nothing could be scored{what}: remove it from tune"


def _parts(evaluation: Evaluation) -> list[list[SummaryRow]]:
    """Summary rows of the measured parts of `balance`."""
    rows = [row for row in evaluation.summary if not row.category]
    parts = [[row for row in rows if (row.metric, row.purpose) in part] for part in PARTS]
    return [part for part in parts if part]


def _without_value(parts: Sequence[Sequence[SummaryRow]]) -> list[str]:
    return [f"{row.metric} in {row.suite}" for part in parts for row in part if row.value is None]


def _goodness(row: SummaryRow) -> float:
    assert row.value is not None
    return row.value if row.higher_is_better else 1 - row.value
