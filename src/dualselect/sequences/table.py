"""The results of a sequence as a table: one line per method."""

from collections.abc import Mapping
from typing import Any


TITLES = {
    "average": "AP",
    "backward_transfer": "BWT",
    "forgetting": "forgetting",
    "forward_transfer": "FWT",
}
METRIC_TITLES = {"exact_match": "exact", "answer_probability": "probability"}


def table_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """Headings and lines of the table; scores are percentages with their 95% intervals.

    Args:
        content: Content of continual.json.
    """
    columns = [
        (metric, number)
        for metric in METRIC_TITLES
        for number in TITLES
        if any(method["summary"][metric][number] for method in content["methods"])
    ]
    measures = list(
        dict.fromkeys(name for method in content["methods"] for run in method["runs"] for name in _last(run, "safety"))
    )
    cells = [
        [
            "method",
            *(f"{TITLES[number]}, {METRIC_TITLES[metric]}" for metric, number in columns),
            *(name.replace("_", " ") for name in measures),
            "row passes",
        ]
    ]
    for method in content["methods"]:
        numbers = [_shown(method["summary"][metric][number]) for metric, number in columns]
        finals = [
            [found[name] for run in method["runs"] if name in (found := _last(run, "safety"))] for name in measures
        ]
        passes = [run["cost"]["rows_forward_backward"] + run["cost"]["rows_forward"] / 3 for run in method["runs"]]
        cells.append(
            [
                method["name"],
                *numbers,
                *(f"{100 * sum(values) / len(values):.0f}" if values else "" for values in finals),
                f"{sum(passes) / len(passes):,.0f}",
            ]
        )
    return cells


def _last(run: Mapping[str, Any], name: str) -> dict[str, float]:
    found: dict[str, float] = run[name][-1] if run[name] else {}
    return found


def _shown(number: Mapping[str, Any] | None) -> str:
    if number is None:
        return ""
    ends = "" if number["low"] is None else f" [{100 * number['low']:.1f}, {100 * number['high']:.1f}]"
    return f"{100 * number['value']:.1f}{ends}"
