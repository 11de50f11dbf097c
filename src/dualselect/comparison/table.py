"""From the evaluations of a method's runs to its rows of the table."""

import itertools
from collections.abc import Mapping
from typing import Any

from dualselect.comparison.results import Row
from dualselect.evaluation.intervals import mean_over_seeds, paired_difference_over_seeds, rate
from dualselect.evaluation.metrics import values_of
from dualselect.evaluation.results import Evaluation, SummaryRow


Evaluations = Mapping[str, Evaluation]
"""By seed."""
Values = dict[str, dict[str, float | None]]
"""For each seed, one number per prompt by its id; None is unscored."""
Costs = Mapping[str, Mapping[str, Any]]
"""Content of each run's cost.json, by seed."""
COSTS = {
    "training_time_ratio": "seconds",
    "peak_gpu_memory_ratio": "peak_gpu_memory_bytes",
    "peak_memory_ratio": "peak_memory_bytes",
    "rows_forward_backward_ratio": "rows_forward_backward",
}
"""What is told relative to the baseline, and its name in cost.json."""


def measured_rows(method: str, evaluations: Evaluations, baseline: Evaluations) -> list[Row]:
    """The rows of everything that was measured on prompts, over all categories.

    Args:
        method: Name of the line.
        evaluations: Of its runs.
        baseline: Of the baseline's runs; differences are to the same seed, and none where one is missing.
    """
    rows = []
    for one in _summary(evaluations):
        values = _values(evaluations, one)
        apart = None
        if set(evaluations) <= set(baseline):
            apart = _difference(values, _values({seed: baseline[seed] for seed in evaluations}, one))
        rows.append(_row(method, one, values, apart))
    return rows


def cost_rows(method: str, costs: Costs, baseline: Costs) -> list[Row]:
    """Time, memory and rows through the model, relative to the baseline's run of the same seed.

    Memory is the GPU's where all of these runs have it, else that of the process, and the metric's name says which.

    Args:
        method: Name of the line.
        costs: Of its runs.
        baseline: Of the baseline's runs.
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
    """The rows of all seeds, each once."""
    found = {
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
    return [found[key] for key in dict.fromkeys(order)]


def _values(evaluations: Evaluations, row: SummaryRow) -> Values:
    return {seed: values_of(evaluation, row) for seed, evaluation in evaluations.items()}


def _aligned(values: Values) -> list[list[float | None]]:
    """The same prompts for every seed; None where one has not scored what another has."""
    prompts = list(dict.fromkeys(name for some in values.values() for name in some))
    return [[some.get(name) for name in prompts] for some in values.values()]


def _row(method: str, one: SummaryRow, values: Values, difference: dict[str, float | None] | None) -> Row:
    seeds = {seed: _mean([value for value in some.values() if value is not None]) for seed, some in values.items()}
    aligned = _aligned(values)
    count = sum(value is not None for row in aligned for value in row)
    missing = sum(value is None for row in aligned for value in row)
    value = low = high = None
    interval = ""
    if count:
        found = mean_over_seeds(aligned)
        value, low, high, interval = found.value, found.low, found.high, "bootstrap"
        # all prompts alike: a bootstrap would claim to be certain; and one seed has a better interval of a rate
        alike = len({value for row in aligned for value in row if value is not None}) == 1
        if one.interval == "wilson" and (alike or len(values) == 1):
            prompts = max(sum(value is not None for value in row) for row in aligned)
            around = rate(round(value * prompts), prompts)
            low, high, interval = around.low, around.high, "wilson"
        elif alike:
            low, high, interval = None, None, ""
    return Row(
        method, one.suite, one.judge, one.metric, value, low, high, count, missing, interval, one.higher_is_better,
        seeds, difference, one.purpose,
    )  # fmt: skip


def _difference(ours: Values, theirs: Values) -> dict[str, float | None] | None:
    prompts = list(dict.fromkeys(name for some in ours.values() for name in some))
    first, second = ([[values[seed].get(name) for name in prompts] for seed in ours] for values in (ours, theirs))
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    if not any(one is not None and other is not None for one, other in pairs):
        return None
    found = paired_difference_over_seeds(first, second)
    return {"value": found.value, "low": found.low, "high": found.high}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
