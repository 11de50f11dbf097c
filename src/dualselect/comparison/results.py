"""`COMPARISON/comparison.json`: the results of a comparison, read by reports.

    {"format": 1, "baseline": "sft" or null, "seeds": [...], "model": start model, "average": [suites of Safety Avg],
     "methods": [{"name", "method", "paper", "needs", "settings", "seeds", "runs": {seed: folder},
                  "steps": {seed: optimizer steps}, "tuning", "failed": {run: reason}}],
     "rows": [{"method", "suite", "judge", "metric", "value", "low", "high", "count", "unscored", "interval",
               "higher_is_better", "seeds": {seed: value}, "difference": {"value", "low", "high"} or null, "purpose",
               "corrected": [value, low, high] or null}],
     "judges": [how often each agrees with people]}

The first method is `start`, the model before fine-tuning. A rate is in [0, 1]; a win rate is in [0, 100] and 50
for the baseline. Time and memory are relative to the baseline; memory is GPU memory if both runs have it
(`peak_gpu_memory_ratio`), else that of the process. A difference is to the baseline, paired by prompt and seed; its
ends are null without an interval. `comparison.csv` holds the same rows.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dualselect.system.files import write_json, write_text
from dualselect.system.tables import csv_text


FORMAT = 1
COMPARISON_FILE, TABLE_FILE, FIGURE_FILE = "comparison.json", "comparison.csv", "pareto.svg"


@dataclass(frozen=True)
class Row:
    """One number of the table, over all seeds of a method.

    Attributes:
        method: Name of the entry.
        suite: Name of the suite; empty if the metric has none.
        judge: Name of the judge; empty if the metric needs none.
        metric: Name of the metric.
        value: None if nothing could be scored.
        low: Lower end of the 95% interval; None without one.
        high: Upper end of the 95% interval; None without one.
        count: Number of averaged values, prompts times seeds.
        unscored: Number of missing values.
        interval: `bootstrap` over seeds and prompts, `wilson` over prompts, or empty.
        higher_is_better: None if neither direction is better.
        seeds: Value by seed.
        difference: Paired difference to the baseline: `value`, `low`, `high`; None without one.
        purpose: Purpose of the suite's prompts; empty without a suite.
        corrected: The value, its lower and its upper end, corrected for the errors of a judge of known accuracy; the
            interval is over the prompts of one seed. None without such a judge.
    """

    method: str
    suite: str
    judge: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    count: int
    unscored: int
    interval: str
    higher_is_better: bool | None
    seeds: dict[str, float | None] = field(default_factory=dict)
    difference: dict[str, float | None] | None = None
    purpose: str = ""
    corrected: tuple[float, float, float] | None = None


def write_comparison(folder: Path, facts: dict[str, Any], rows: Sequence[Row]) -> Path:
    """Write comparison.json and comparison.csv, each atomically.

    Args:
        folder: Folder of the comparison.
        facts: All keys except `format` and `rows`.
        rows: The table.

    Returns:
        The path of comparison.json.
    """
    write_text(folder / TABLE_FILE, _csv(rows))
    path = folder / COMPARISON_FILE
    write_json(path, {"format": FORMAT, **facts, "rows": [asdict(row) for row in rows]})
    return path


def _csv(rows: Sequence[Row]) -> str:
    names = [name for name in Row.__dataclass_fields__ if name not in ("seeds", "difference", "corrected")]
    lines: list[Sequence[Any]] = [[*names, "seeds", "difference", "difference_low", "difference_high"]]
    for row in rows:
        difference = row.difference or {}
        per_seed = " ".join(f"{seed}:{value}" for seed, value in row.seeds.items())
        ends = [difference.get(name) for name in ("value", "low", "high")]
        lines.append([*(getattr(row, name) for name in names), per_seed, *ends])
    return csv_text(lines)
