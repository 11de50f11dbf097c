"""Prompts to responses, responses to verdicts, verdicts to numbers with intervals."""

import importlib
from typing import TYPE_CHECKING, Any

# not on demand as the others: it has the name of its module, which would take its place
from dualselect.evaluation.exact_match import exact_match


if TYPE_CHECKING:
    from dualselect.evaluation.evaluating import evaluate
    from dualselect.evaluation.generation import generate_responses
    from dualselect.evaluation.generation_settings import GenerationSettings
    from dualselect.evaluation.intervals import Mean, Rate, mean, mean_over_seeds, paired_difference, rate
    from dualselect.evaluation.results import Evaluation, read_evaluation
    from dualselect.evaluation.suite import Prompt, Suite
    from dualselect.evaluation.suites import load_suites

__all__ = [
    "Evaluation",
    "GenerationSettings",
    "Mean",
    "Prompt",
    "Rate",
    "Suite",
    "evaluate",
    "exact_match",
    "generate_responses",
    "load_suites",
    "mean",
    "mean_over_seeds",
    "paired_difference",
    "rate",
    "read_evaluation",
]

_HOMES = {
    "evaluating": ("evaluate",),
    "generation": ("generate_responses",),
    "generation_settings": ("GenerationSettings",),
    "intervals": ("Mean", "Rate", "mean", "mean_over_seeds", "paired_difference", "rate"),
    "results": ("Evaluation", "read_evaluation"),
    "suite": ("Prompt", "Suite"),
    "suites": ("load_suites",),
}


def __getattr__(name: str) -> Any:
    # a reader of results, or of numbers, has no use for torch
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"dualselect.evaluation.{home}"), name)
    raise AttributeError(f"module 'dualselect.evaluation' has no attribute {name!r}")
