"""The page of a sequence of tasks: what was kept, what was forgotten, and safety along the way."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dualselect.errors import DataError
from dualselect.report import figures
from dualselect.report.page import page_environment, write_page
from dualselect.sequences.results import FORMAT, RESULTS_FILE
from dualselect.sequences.table import table_cells


HEADINGS = {
    "AP": "mean score on all tasks after the last one",
    "BWT": "mean change of a task's score since it was learned",
    "forgetting": "mean drop from the best score that a task ever had",
    "FWT": "mean gain over learning a task alone",
}
"""What the columns of the table mean."""
NAMES = {"exact_match": "answers exactly right", "answer_probability": "answer probability"}
"""The metrics in the pictures."""
MOST_MATRICES = 12
"""Matrices that are drawn; further methods are only in the table."""


def is_sequence(path: Path) -> bool:
    """Whether a folder holds the results of a sequence."""
    return (path / RESULTS_FILE).is_file()


def write_continual_page(folder: Path, output: Path) -> Path:
    """Write the page of a sequence.

    Args:
        folder: The folder with `continual.json`.
        output: The HTML file.

    Raises:
        DataError: `continual.json` cannot be read.
    """
    path = folder / RESULTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is broken ({error}): run dualselect continual again") from error
    if content.get("format") != FORMAT:
        raise DataError(f"{path} has format {content.get('format')!r}, and this version reads {FORMAT}: update it")
    metric = metric_of(content)
    page = (
        page_environment()
        .get_template("continual.html.j2")
        .render(
            name=folder.resolve().name,
            content=content,
            metric=NAMES[metric],
            verdict=verdict(content, metric),
            table=table_cells(content),
            headings=HEADINGS,
            matrices=[
                {"name": method["name"], "figure": figure}
                for method in content["methods"][:MOST_MATRICES]
                if (figure := _matrix(content, method, metric)) is not None
            ],
            curves=_curves(content, metric),
            safety=_safety(content),
            memory=[
                {"name": method["name"], "rows": method["runs"][0]["memory"]}
                for method in content["methods"]
                if method["runs"] and any(method["runs"][0]["memory"])
            ],
        )
    )
    write_page(output, page)
    return output


def metric_of(content: Mapping[str, Any]) -> str:
    """The metric that the pictures show: exact match, or the probability of answers if nothing is exactly right."""
    exact = [
        scores["exact_match"]
        for method in content["methods"]
        for run in method["runs"]
        for stage in run["scores"]
        for scores in stage.values()
        if "exact_match" in scores
    ]
    return "exact_match" if any(value > 0 for value in exact) else "answer_probability"


def verdict(content: Mapping[str, Any], metric: str) -> str:
    """What was kept: the average score and the forgetting of each method."""
    known = [method for method in content["methods"] if method["summary"][metric]["average"]]
    if not known:
        return "No sequence is complete yet."
    best = max(known, key=lambda method: float(method["summary"][metric]["average"]["value"]))
    parts = []
    for method in known:
        numbers = method["summary"][metric]
        forgotten = numbers["forgetting"]
        parts.append(
            f"{method['name']} {_percent(numbers['average'])}"
            + ("" if forgotten is None else f" (forgetting {100 * forgotten['value']:.0f} points)")
        )
    opening = f"After {len(content['tasks'])} tasks"
    opening += f", {best['name']} knows most" if len(known) > 1 else ""
    return f"{opening}. Average score on all tasks: {', '.join(parts)}."


def _percent(number: Mapping[str, float]) -> str:
    return f"{100 * number['value']:.0f}%"


def _matrix(content: Mapping[str, Any], method: Mapping[str, Any], metric: str) -> Any:
    """Scores on each task after each task, of the first complete run."""
    for run in method["runs"]:
        order = content["orders"][run["order"]]
        rows = [[scores.get(name, {}).get(metric) for name in order] for scores in run["scores"]]
        if len(rows) == len(order) and all(value is not None for row in rows for value in row):
            label = f"{NAMES[metric]}, %"
            return figures.heat_map([f"after {name}" for name in order], order, rows, label=label)
    return None


def _curves(content: Mapping[str, Any], metric: str) -> Any:
    """Mean score on the tasks learned so far, by method, over the first order."""
    series = {}
    for method in content["methods"]:
        runs = [run for run in method["runs"] if run["order"] == 0 and len(run["scores"]) == len(content["orders"][0])]
        points = []
        for place in range(len(content["orders"][0]) if runs else 0):
            learned = content["orders"][0][: place + 1]
            values = [run["scores"][place].get(name, {}).get(metric) for run in runs for name in learned]
            if values and all(value is not None for value in values):
                points.append((place + 1, 100 * sum(values) / len(values)))
        if points:
            series[method["name"]] = points
    if not series:
        return None
    return figures.lines(series, across="tasks learned", up=f"{NAMES[metric]}, %")


def _safety(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One figure for each measure of safety: its value at the start and after each task, by method."""
    runs_of_all = [run for method in content["methods"] for run in method["runs"]]
    names = list(dict.fromkeys(name for run in runs_of_all for stage in run["safety"] for name in stage))
    found = []
    for name in names:
        series = {}
        for method in content["methods"]:
            runs = [run["safety"] for run in method["runs"] if run["safety"] and len(run["safety"]) > 1]
            start = content["start_safety"].get(name)
            points = [] if start is None or not runs else [(0, 100 * start)]
            for place in range(min((len(stages) for stages in runs), default=0)):
                values = [stages[place][name] for stages in runs if name in stages[place]]
                if values:
                    points.append((place + 1, 100 * sum(values) / len(values)))
            if points:
                series[method["name"]] = points
        if series:
            title = name.replace("_", " ")
            found.append({"name": title, "figure": figures.lines(series, across="tasks learned", up=f"{title}, %")})
    return found
