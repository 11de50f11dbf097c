"""`OUTPUT/continual.json`: the results of a sequence, read by its page.

    {"format": 1, "tasks": [names], "orders": [[names]], "seeds": [...], "start": {task: {metric: value}},
     "methods": [{"name", "method", "settings",
                  "runs": [{"order": index, "seed", "scores": [{task: {metric: value}} per learned task],
                            "safety": [{measure: value} per learned task], "memory": [{task: rows} per learned task],
                            "cost": {"seconds", "rows_forward_backward", "rows_forward"}}],
                  "summary": {metric: {"average", "backward_transfer", "forgetting", "forward_transfer":
                              {"value", "low", "high", "count"} or null}},
                  "difference": the same for the paired difference to the first method, or null}],
     "alone": {seed: {task: {metric: value}}}}

Scores are in [0, 1]. Intervals are 95% bootstrap intervals over runs (orders and seeds). A run that is not complete is
left out of the summary.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dualselect.evaluation.intervals import mean_over_seeds
from dualselect.methods.cost import COST_FILE
from dualselect.runs.directory import EVALUATION
from dualselect.sequences.config import SequenceConfig, SequenceMethod
from dualselect.sequences.memory import MEMORY_FILE, read_memory
from dualselect.sequences.metrics import sequence_metrics
from dualselect.system.files import write_json


FORMAT = 1
RESULTS_FILE = "continual.json"
METRICS = ("exact_match", "answer_probability")
SAFETY_METRICS = ("refusal_rate", "over_refusal_rate", "kl_to_start", "repetitive_rate")
NUMBERS = ("average", "backward_transfer", "forgetting", "forward_transfer")
COSTS = ("seconds", "rows_forward_backward", "rows_forward")

Scores = dict[str, dict[str, float]]
"""Value by task and metric."""


def evaluation_path(stage: Path) -> Path:
    """Where the evaluation of a run of a sequence is."""
    return stage / EVALUATION / "sequence.json"


def write_results(config: SequenceConfig) -> Path:
    """Collect what there is and write it.

    Returns:
        The path of `continual.json`.
    """
    runs = config.folder / "runs"
    start, start_safety = _read(runs / "start.json", config)
    alone = {str(seed): _alone(config, seed) for seed in (config.seeds if config.alone else [])}
    methods: list[dict[str, Any]] = []
    for method in config.methods:
        found = [_run(config, method, number, seed) for seed in config.seeds for number in range(len(config.orders))]
        methods.append({"name": method.name, "method": method.method.name, "settings": _plain(method), "runs": found})
    summaries = [_complete(config, one, alone) for one in methods]
    for one, summary in zip(methods, summaries, strict=True):
        one["summary"] = _summary(summary, lambda value, _: value)
        one["difference"] = None if one is methods[0] else _summary(
            summary, lambda value, other: None if other is None else value - other, summaries[0]
        )  # fmt: skip
    path = config.folder / RESULTS_FILE
    write_json(
        path,
        {
            "format": FORMAT,
            "model": config.model,
            "tasks": [task.name for task in config.tasks],
            "orders": config.orders,
            "seeds": config.seeds,
            "start": start,
            "start_safety": start_safety,
            "methods": methods,
            "alone": alone,
        },
    )
    return path


def _alone(config: SequenceConfig, seed: int) -> Scores:
    """Scores on each task after learning it alone."""
    folder = config.folder / "runs" / "alone" / f"seed-{seed}"
    return {
        task.name: _read(evaluation_path(folder / task.name), config)[0].get(task.name, {}) for task in config.tasks
    }


def _run(config: SequenceConfig, method: SequenceMethod, number: int, seed: int) -> dict[str, Any]:
    folder = config.folder / "runs" / method.name / f"order-{number}" / f"seed-{seed}"
    order = config.orders[number]
    stages = [folder / "joint"] if method.joint else [folder / f"{at + 1:02}-{name}" for at, name in enumerate(order)]
    scores, safety, memory = [], [], []
    cost = dict.fromkeys(COSTS, 0.0)
    for place, stage in enumerate(stages):
        found, found_safety = _read(evaluation_path(stage), config)
        if not found:
            break
        scores.append(found)
        safety.append(found_safety)
        kept = folder / "memory" / f"{place + 1:02}"
        memory.append(dict(Counter(row.kind for row in read_memory(kept))) if (kept / MEMORY_FILE).exists() else {})
        if (stage / COST_FILE).exists():
            spent = json.loads((stage / COST_FILE).read_text(encoding="utf-8"))
            cost = {name: cost[name] + (spent[name] or 0) for name in COSTS}
    return {"order": number, "seed": seed, "scores": scores, "safety": safety, "memory": memory, "cost": cost}


def _read(path: Path, config: SequenceConfig) -> tuple[Scores, dict[str, float]]:
    """Scores by task and metric, and measures of safety; empty without the file."""
    if not path.exists():
        return {}, {}
    names = {task.name for task in config.tasks}
    scores: Scores = {}
    safety: dict[str, float] = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["summary"]:
        if row["category"] or row["value"] is None:
            continue
        if row["suite"] in names and row["metric"] in METRICS:
            scores.setdefault(row["suite"], {})[row["metric"]] = row["value"]
        elif row["suite"] not in names and row["metric"] in SAFETY_METRICS:
            safety[f"{row['suite']}: {row['metric']}"] = row["value"]
    return scores, safety


def _complete(
    config: SequenceConfig, method: dict[str, Any], alone: dict[str, Any]
) -> dict[tuple[str, int, int], dict[str, float | None]]:
    """The numbers of each complete run, by metric, order and seed."""
    found = {}
    for run in method["runs"]:
        order = config.orders[run["order"]]
        singles = alone.get(str(run["seed"]), {})
        for metric in METRICS:
            rows = [[scores.get(name, {}).get(metric) for name in order] for scores in run["scores"]]
            if not rows or any(value is None for row in rows for value in row):
                continue
            one_task = [singles.get(name, {}).get(metric) for name in order]
            if len(rows) == len(order):
                known = None if any(value is None for value in one_task) else one_task
                found[metric, run["order"], run["seed"]] = dict(vars(sequence_metrics(rows, known)))
            elif len(rows) == 1:  # joint training
                found[metric, run["order"], run["seed"]] = {
                    name: sum(rows[0]) / len(rows[0]) if name == "average" else None for name in NUMBERS
                }
    return found


def _summary(
    found: dict[tuple[str, int, int], dict[str, float | None]],
    value_of: Callable[[float, float | None], float | None],
    others: dict[tuple[str, int, int], dict[str, float | None]] | None = None,
) -> dict[str, Any]:
    """Mean and interval of each number over the runs, or over the runs that `others` has too."""
    summary: dict[str, Any] = {}
    for metric in METRICS:
        summary[metric] = {}
        for name in NUMBERS:
            values: list[float] = []
            for place, numbers in found.items():
                one = numbers[name]
                if place[0] == metric and one is not None:
                    other = (others or {}).get(place, {}).get(name)
                    if (value := value_of(one, other)) is not None:
                        values.append(value)
            summary[metric][name] = _interval(values)
    return summary


def _interval(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    mean = mean_over_seeds([[value] for value in values])
    several = len(values) > 1
    return {
        "value": mean.value,
        "low": mean.low if several else None,
        "high": mean.high if several else None,
        "count": len(values),
    }


def _plain(method: SequenceMethod) -> dict[str, Any]:
    own = method.method.settings if method.method.setting_names else {}
    return {**own, **method.settings, "adapter": method.adapter}
