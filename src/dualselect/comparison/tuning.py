"""Settings of a method chosen on validation prompts, or on the loss of held-out task rows; never on what is told."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.comparison.config import Entry
from dualselect.comparison.run_plan import VALIDATION, RunPlan
from dualselect.evaluation.results import Evaluation, SummaryRow, read_evaluation
from dualselect.methods.sft import VALIDATION_LOSS
from dualselect.run_directory import EVALUATION, METRICS_LOG


@dataclass(frozen=True)
class Tuning:
    """How the settings of an entry were chosen.

    Attributes:
        by: `balance` (higher is better) or `validation_loss` (lower is).
        seed: Of the runs that it was chosen by.
        tried: The settings tried and what each had; None for a run that failed.
        chosen: Position of the best in `tried`, the first of equals; None when all failed.
    """

    by: str
    seed: int
    tried: list[tuple[dict[str, Any], float | None]]
    chosen: int | None

    def facts(self) -> dict[str, Any]:
        """As comparison.json has it."""
        return {
            "by": self.by,
            "seed": self.seed,
            "runs": len(self.tried),
            "tried": [{"settings": settings, "value": value} for settings, value in self.tried],
            "chosen": None if self.chosen is None else self.tried[self.chosen][0],
        }


def tuning_of(entry: Entry, plans: list[RunPlan]) -> Tuning:
    """Read what the candidates of an entry had, and choose.

    Args:
        entry: The entry.
        plans: The plan of each of its candidates, done or failed.
    """
    by_loss = entry.method.tuned_by == "validation_loss"
    values = [
        (validation_loss(plan.path) if by_loss else balance(read_evaluation(_validation(plan.path))))
        if plan.is_done()
        else None
        for plan in plans
    ]
    known = [number for number, value in enumerate(values) if value is not None]
    sign = 1.0 if by_loss else -1.0
    chosen = min(known, key=lambda number: (sign * (values[number] or 0.0), number), default=None)
    return Tuning(entry.method.tuned_by, entry.seeds[0], list(zip(entry.candidates, values, strict=True)), chosen)


def balance(evaluation: Evaluation) -> float | None:
    """The mean of what was measured of safety, of usefulness and of the task, each in [0, 1].

    Safety is the mean, over judges and harmful suites, of the refusal rate or of 1 - attack success rate; usefulness
    of 1 - over-refusal rate; the task of the exact matches. None when none of these was measured.
    """
    parts = [
        [_safety(row) for row in evaluation.summary if row.metric in ("refusal_rate", "attack_success_rate")],
        [None if row.value is None else 1 - row.value for row in _of(evaluation, "over_refusal_rate")],
        [row.value for row in _of(evaluation, "exact_match")],
    ]
    means = [sum(known) / len(known) for part in parts if (known := [value for value in part if value is not None])]
    return sum(means) / len(means) if means else None


def validation_loss(run: Path) -> float | None:
    """The loss that a run had on the task rows it held out."""
    lines = [json.loads(line) for line in (run / METRICS_LOG).read_text(encoding="utf-8").splitlines()]
    return next((line[VALIDATION_LOSS] for line in reversed(lines) if VALIDATION_LOSS in line), None)


def _validation(run: Path) -> Path:
    return run / EVALUATION / f"{VALIDATION}.json"


def _of(evaluation: Evaluation, metric: str) -> list[SummaryRow]:
    return [row for row in evaluation.summary if row.metric == metric and not row.category]


def _safety(row: SummaryRow) -> float | None:
    if row.category or row.higher_is_better is None or row.value is None:
        return None
    return row.value if row.higher_is_better else 1 - row.value
