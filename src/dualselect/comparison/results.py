"""`COMPARISON/comparison.json`: what a comparison found, and what reports read.

    {"format": 1, "baseline": "sft" or null, "seeds": [...], "model": start model, "average": [suites of Safety Avg],
     "methods": [{"name", "method", "paper", "needs", "settings", "seeds", "runs": {seed: folder},
                  "steps": {seed: optimizer steps}, "tuning", "failed": {run: reason}}],
     "rows": [{"method", "suite", "judge", "metric", "value", "low", "high", "count", "unscored", "interval",
               "higher_is_better", "seeds": {seed: value}, "difference": {"value", "low", "high"} or null, "purpose"}]}

The first method is `start`, the model before fine-tuning. A rate is a share in [0, 1]; a win rate is in [0, 100] and
50 for the baseline; times and memory are relative to the baseline, and memory is that of the GPU where both runs have
it (`peak_gpu_memory_ratio`), else that of the process. A difference is to the baseline, paired by prompt and seed; its
ends are null where nothing tells how sure it is. The same rows are in `comparison.csv`.
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
        method: Name of the line.
        suite: Name of the suite; empty where it is of none.
        judge: Name of the judge; empty where none is needed.
        metric: What the number is.
        value: None when nothing could be scored.
        low: Lower end of the 95% interval; None where there is none.
        high: Upper end.
        count: Values that it is the mean of, prompts times seeds.
        unscored: Values that are missing.
        interval: `bootstrap` over seeds and prompts, `wilson` over prompts, or empty.
        higher_is_better: None where neither is.
        seeds: The value of each seed.
        difference: To the baseline's same seeds and prompts: `value`, `low`, `high`; None where there is none.
        purpose: What the prompts of the suite are for; empty where it is of none.
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


def write_comparison(folder: Path, facts: dict[str, Any], rows: Sequence[Row]) -> Path:
    """Write comparison.json and comparison.csv, each whole or not at all.

    Args:
        folder: The comparison.
        facts: Everything but `format` and `rows`.
        rows: The table.

    Returns:
        The path of comparison.json.
    """
    write_text(folder / TABLE_FILE, _csv(rows))
    path = folder / COMPARISON_FILE
    write_json(path, {"format": FORMAT, **facts, "rows": [asdict(row) for row in rows]})
    return path


def _csv(rows: Sequence[Row]) -> str:
    names = [name for name in Row.__dataclass_fields__ if name not in ("seeds", "difference")]
    lines: list[Sequence[Any]] = [[*names, "seeds", "difference", "difference_low", "difference_high"]]
    for row in rows:
        known = row.difference or {}
        per_seed = " ".join(f"{seed}:{value}" for seed, value in row.seeds.items())
        apart = [known.get(name) for name in ("value", "low", "high")]
        lines.append([*(getattr(row, name) for name in names), per_seed, *apart])
    return csv_text(lines)
