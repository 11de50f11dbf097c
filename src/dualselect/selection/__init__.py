"""Selection of references and task examples: pure functions of numbers, in float64 on the CPU."""

from dualselect.selection.choose import (
    Choice,
    choose_all,
    choose_by_tokens,
    choose_compatible,
    choose_highest,
    choose_lowest,
    choose_task_rows,
    draw,
    spread,
    token_surplus,
)
from dualselect.selection.conflict import ConflictFilter
from dualselect.selection.conformal import HarmlessScores, rows_needed
from dualselect.selection.correction import conflict_direction, corrected, project_conflict, without_components
from dualselect.selection.probe import Probe
from dualselect.selection.refresh import refresh_due
from dualselect.selection.scores import reference_scores, task_scores


__all__ = [
    "Choice",
    "ConflictFilter",
    "HarmlessScores",
    "Probe",
    "choose_all",
    "choose_by_tokens",
    "choose_compatible",
    "choose_highest",
    "choose_lowest",
    "choose_task_rows",
    "conflict_direction",
    "corrected",
    "draw",
    "project_conflict",
    "reference_scores",
    "refresh_due",
    "rows_needed",
    "spread",
    "task_scores",
    "token_surplus",
    "without_components",
]
