"""Moved: the judge that reads the wording of a refusal is `dualselect.judges.refusal`."""

from dualselect.judges.refusal import is_refusal


__all__ = ["is_refusal"]
