"""Methods and seeds on one task, one pool and one evaluation: one table, one figure, and the files behind them."""

from dualselect.comparison.comparing import compare
from dualselect.comparison.config import ComparisonConfig, read_comparison


__all__ = ["ComparisonConfig", "compare", "read_comparison"]
