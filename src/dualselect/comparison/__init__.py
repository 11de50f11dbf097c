"""Compare methods over seeds on one task, one reference pool and one evaluation."""

from dualselect.comparison.comparing import compare
from dualselect.comparison.config import ComparisonConfig, read_comparison


__all__ = ["ComparisonConfig", "compare", "read_comparison"]
