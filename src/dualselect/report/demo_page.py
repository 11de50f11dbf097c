"""The page of the demonstration: one self-contained HTML file."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dualselect.report import figures
from dualselect.report.demo_verdict import HARMFUL, verdict
from dualselect.report.page import page_environment, write_page
from dualselect.training.selection_log import SelectionLog


def write_demo_page(folder: Path, models: Mapping[str, str], measures: Mapping[str, str]) -> Path:
    """Write `report.html` of a finished demonstration.

    Args:
        folder: The demonstration: `evaluation/*.json`, `plain/metrics.jsonl`, `dualselect/*.jsonl`, ...
        models: Display names of the models, by evaluation name.
        measures: Display names of the measures.

    Returns:
        Path of the page.
    """
    evaluations = _evaluations(folder, models)
    log = SelectionLog(folder / "dualselect").read()
    steps = [line for line in log if "conflicts" in line]
    threshold = next((line["conflict_threshold"] for line in log if line["event"] == "refresh"), None)
    rates = {name: [it["measures"][kind] for kind in measures] for name, it in evaluations.items()}
    page = (
        page_environment()
        .get_template("demo.html.j2")
        .render(
            verdict=verdict(evaluations),
            measures=measures,
            table=[(models[name], rates[name]) for name in models],
            bars=figures.grouped_bars(list(measures.values()), {models[name]: rates[name] for name in models}),
            losses=figures.lines(
                {models[name]: _losses(folder / name) for name in models if name != "start"},
                across="optimizer step",
                up="loss of the kept rows",
            ),
            conflicts=figures.histogram(
                _conflicts(steps), across="conflict score, in standard deviations of harmless rows", line_at=threshold
            ),
            dropped=_dropped(steps),
            rows=_rows(evaluations, models),
            harmful=HARMFUL,  # texts of this measure are hidden until clicked
            settings=json.loads((folder / "settings.json").read_text("utf-8")),
        )
    )
    write_page(folder / "report.html", page)
    return folder / "report.html"


def verdict_of(folder: Path, models: Iterable[str]) -> str:
    """The verdict of a finished demonstration; see `verdict`."""
    return verdict(_evaluations(folder, models))


def _evaluations(folder: Path, models: Iterable[str]) -> dict[str, Any]:
    return {name: json.loads((folder / "evaluation" / f"{name}.json").read_text("utf-8")) for name in models}


def _losses(folder: Path) -> list[tuple[float, float]]:
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    return [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]


def _conflicts(steps: list[dict[str, Any]]) -> dict[str, list[float]]:
    conflicts: dict[str, list[float]] = defaultdict(list)
    for line in steps:
        for kind, conflict in zip(line["kinds"], line["conflicts"], strict=True):
            conflicts[kind].append(conflict)
    return dict(conflicts)


def _dropped(steps: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    total: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for line in steps:
        for kind, kept in zip(line["kinds"], line["kept"], strict=True):
            total[kind] += 1
            dropped[kind] += not kept
    return [(kind, dropped[kind], total[kind]) for kind in sorted(total)]


def _rows(evaluations: Mapping[str, Any], models: Mapping[str, str]) -> list[dict[str, Any]]:
    by_id: dict[str, dict[str, Any]] = {}
    for name, evaluation in evaluations.items():
        for response in evaluation["responses"]:
            row = by_id.setdefault(
                response["id"], {key: response[key] for key in ("id", "kind", "category", "prompt")} | {"answers": []}
            )
            row["answers"].append((models[name], response["response"], response["verdict"]))
    return list(by_id.values())
