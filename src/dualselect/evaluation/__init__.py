"""Prompts to responses, responses to verdicts, verdicts to numbers with intervals."""

from dualselect.evaluation.exact_match import exact_match
from dualselect.evaluation.generation import generate_responses
from dualselect.evaluation.intervals import Rate, rate
from dualselect.evaluation.refusal import is_refusal


__all__ = ["Rate", "exact_match", "generate_responses", "is_refusal", "rate"]
