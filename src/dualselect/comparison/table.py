"""Aggregate the evaluations of a method's runs into rows of the table."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dualselect.comparison.results import Row
from dualselect.evaluation.intervals import mean_over_seeds, paired_difference_over_seeds, rate
from dualselect.evaluation.judge_errors import corrected_rate
from dualselect.evaluation.metrics import values_of
from dualselect.evaluation.results import Evaluation, SummaryRow


Evaluations = Mapping[str, Evaluation]
"""Evaluations by seed."""
Values = dict[str, dict[str, float | None]]
"""Numbers by seed and prompt id; None if unscored."""
Costs = Mapping[str, Mapping[str, Any]]
"""Content of each run's cost.json, by seed."""
COSTS = {
    "training_time_ratio": "seconds",
    "peak_gpu_memory_ratio": "peak_gpu_memory_bytes",
    "peak_memory_ratio": "peak_memory_bytes",
    "rows_forward_backward_ratio": "rows_forward_backward",
}
"""Costs relative to the baseline: name of the metric, and key in cost.json."""


def measured_rows(method: str, evaluations: Evaluations, baseline: Evaluations) -> list[Row]:
    """Rows of all metrics on prompts, over all categories.

    Args:
        method: Name of the entry.
        evaluations: Evaluations of its runs.
        baseline: Evaluations of the baseline's runs. Differences are paired by seed, and omitted if a seed is missing.
    """
    rows = []
    for one in _summary(evaluations):
        values = _values(evaluations, one)
        difference = None
        if set(evaluations) <= set(baseline):
            difference = _difference(values, _values({seed: baseline[seed] for seed in evaluations}, one))
        row = _row(method, one, values, difference)
        scored = max(sum(value is not None for value in its.values()) for its in values.values())
        rows.append(replace(row, corrected=_corrected(row, evaluations, scored)))
    return rows


def cost_rows(method: str, costs: Costs, baseline: Costs) -> list[Row]:
    """Time, memory and rows through the model, relative to the baseline's run of the same seed.

    Memory is GPU memory if all runs have it, else that of the process; the metric's name says which.

    Args:
        method: Name of the entry.
        costs: Costs of its runs.
        baseline: Costs of the baseline's runs.
    """
    shared = [seed for seed in costs if seed in baseline]
    if not shared:
        return []
    on_gpu = all(one[seed].get(COSTS["peak_gpu_memory_ratio"]) for one in (costs, baseline) for seed in shared)
    rows = []
    for metric, name in COSTS.items():
        if metric == ("peak_memory_ratio" if on_gpu else "peak_gpu_memory_ratio"):
            continue
        ratios = {seed: costs[seed][name] / baseline[seed][name] for seed in shared}
        mean = mean_over_seeds([[ratio] for ratio in ratios.values()])
        several = len(ratios) > 1
        rows.append(
            Row(
                method, "", "", metric, mean.value, mean.low if several else None, mean.high if several else None,
                len(ratios), len(costs) - len(ratios), "bootstrap" if several else "", False, ratios,
            )
        )  # fmt: skip
    return rows


def _summary(evaluations: Evaluations) -> list[SummaryRow]:
    """The distinct summary rows of all seeds."""
    by_key = {
        (row.suite, row.judge, row.metric): row
        for evaluation in reversed(list(evaluations.values()))
        for row in evaluation.summary
        if not row.category
    }
    order = [
        (row.suite, row.judge, row.metric)
        for evaluation in evaluations.values()
        for row in evaluation.summary
        if not row.category
    ]
    return [by_key[key] for key in dict.fromkeys(order)]


def _values(evaluations: Evaluations, row: SummaryRow) -> Values:
    return {seed: values_of(evaluation, row) for seed, evaluation in evaluations.items()}


def _aligned(values: Values) -> list[list[float | None]]:
    """One number per seed and prompt, over the prompts of all seeds; None if missing."""
    prompts = list(dict.fromkeys(name for by_prompt in values.values() for name in by_prompt))
    return [[by_prompt.get(name) for name in prompts] for by_prompt in values.values()]


def _row(method: str, one: SummaryRow, values: Values, difference: dict[str, float | None] | None) -> Row:
    seeds = {seed: _mean([value for value in its.values() if value is not None]) for seed, its in values.items()}
    aligned = _aligned(values)
    count = sum(value is not None for row in aligned for value in row)
    missing = sum(value is None for row in aligned for value in row)
    value = low = high = None
    interval = ""
    if count:
        mean = mean_over_seeds(aligned)
        value, low, high, interval = mean.value, mean.low, mean.high, "bootstrap"
        # a bootstrap of equal values has no width, and for a rate of one seed Wilson's interval is better
        all_equal = len({value for row in aligned for value in row if value is not None}) == 1
        if one.interval == "wilson" and (all_equal or len(values) == 1):
            prompts = max(sum(value is not None for value in row) for row in aligned)
            estimate = rate(round(value * prompts), prompts)
            low, high, interval = estimate.low, estimate.high, "wilson"
        elif all_equal:
            low, high, interval = None, None, ""
    return Row(
        method, one.suite, one.judge, one.metric, value, low, high, count, missing, interval, one.higher_is_better,
        seeds, difference, one.purpose,
    )  # fmt: skip


def _corrected(row: Row, evaluations: Evaluations, prompts: int) -> tuple[float, float, float] | None:
    """The rate corrected for the errors of its judge (Rogan-Gladen), as if it were that of one seed."""
    accuracy = next(
        (
            judge.accuracy
            for evaluation in evaluations.values()
            for judge in evaluation.judges
            if judge.name == row.judge and judge.measure == "refusal"
        ),
        None,
    )
    if accuracy is None or row.value is None or not row.metric.endswith("refusal_rate"):
        return None
    return corrected_rate(round(row.value * prompts), prompts, accuracy)


def _difference(ours: Values, theirs: Values) -> dict[str, float | None] | None:
    prompts = list(dict.fromkeys(name for by_prompt in ours.values() for name in by_prompt))
    first, second = ([[values[seed].get(name) for name in prompts] for seed in ours] for values in (ours, theirs))
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    if not any(one is not None and other is not None for one, other in pairs):
        return None
    difference = paired_difference_over_seeds(first, second)
    return {"value": difference.value, "low": difference.low, "high": difference.high}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
