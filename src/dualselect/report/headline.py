"""The numbers of evaluations and comparisons: one cell per measure and model, in percent where it is a rate."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dualselect.report.folders import Evaluation


RATES = {
    "refusal_rate", "attack_success_rate", "over_refusal_rate", "exact_match", "exact_match_flexible",
    "answer_probability", "preference_accuracy", "empty_rate", "repetitive_rate", "truncated_rate",
}  # fmt: skip
ORDER = (
    "safety_average", "refusal_rate", "attack_success_rate", "harmfulness", "win_rate", "win_rate_length_controlled",
    "over_refusal_rate", "exact_match", "exact_match_flexible", "answer_probability", "preference_accuracy",
)  # fmt: skip
"""Metrics in the order of the table; all others come after these."""
LAST = ("empty_rate", "repetitive_rate", "truncated_rate")


class Measure(NamedTuple):
    """What is measured: a metric on the prompts of a suite by a judge (none for what needs none)."""

    suite: str
    metric: str
    judge: str

    @property
    def title(self) -> str:
        """The metric in words."""
        return self.metric.replace("_", " ")

    @property
    def under(self) -> str:
        """Suite and judge."""
        return ", ".join(filter(None, (self.suite, self.judge and f"judge {self.judge}")))


@dataclass(frozen=True)
class Cell:
    """A value with its interval, on the scale that is shown.

    Attributes:
        value: None when nothing could be scored.
        low: Lower end of the interval.
        high: Upper end.
        count: Prompts scored.
        unscored: Prompts without a verdict.
        percent: Whether the scale is percent.
        higher_is_better: None where neither is.
        difference: To the baseline of a comparison: value, low, high (None where its ends are not known); None where
            there is none.
        purpose: What the prompts are for; empty where nothing says it.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    unscored: int
    percent: bool
    higher_is_better: bool | None
    difference: tuple[float, float | None, float | None] | None = None
    purpose: str = ""

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Cell":
        """From an entry of an evaluation's summary or a row of a comparison."""
        scale = 100 if entry["metric"] in RATES else 1
        value, low, high = _scaled(entry, scale)
        apart = entry.get("difference")
        return cls(
            value, low, high, entry["count"], entry["unscored"], scale == 100, entry["higher_is_better"],
            None if apart is None else _scaled(apart, scale), entry.get("purpose", ""),
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The value."""
        return "unscored" if self.value is None else self._shown(self.value) + ("%" if self.percent else "")

    @property
    def interval(self) -> str:
        """The interval, empty when there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self._shown(self.low)}, {self._shown(self.high)}]"

    @property
    def against(self) -> str:
        """The difference to the baseline and its interval, empty when there is none."""
        if self.difference is None:
            return ""
        shown = ((end, self._shown(end)) for end in self.difference if end is not None)
        value, *ends = (text if end <= 0 or text == "0" else f"+{text}" for end, text in shown)
        return f"{value} [{', '.join(ends)}]" if ends else value

    def _shown(self, number: float) -> str:
        return f"{number:z.0f}" if self.percent else f"{number:z.3g}"


def _scaled(entry: dict[str, Any], scale: float) -> tuple[Any, Any, Any]:
    value, low, high = (None if (found := entry[name]) is None else found * scale for name in ("value", "low", "high"))
    return value, low, high


@dataclass(frozen=True)
class Grid:
    """A table whose longer side runs down the page.

    Attributes:
        down: Headings of the rows, each with a line under it.
        across: Headings of the columns, the same.
        cells: By row and column; None where a model was not measured so.
    """

    down: list[tuple[str, str]]
    across: list[tuple[str, str]]
    cells: list[list[Cell | None]]


Numbers = dict[str, dict[Measure, Cell]]
"""By name of the model."""


def overall(evaluations: Sequence[Evaluation], category: str = "") -> Numbers:
    """The summary of each evaluation for one category, all of them when it is empty."""
    return {
        evaluation.name: {
            Measure(entry["suite"], entry["metric"], entry["judge"] or ""): Cell.of(entry)
            for entry in evaluation.content["summary"]
            if (entry["category"] or "") == category
        }
        for evaluation in evaluations
    }


def compared(content: dict[str, Any]) -> Numbers:
    """The rows of a comparison, methods in its order."""
    numbers: Numbers = {method["name"]: {} for method in content["methods"]}
    for row in content["rows"]:
        numbers[row["method"]][Measure(row["suite"], row["metric"], row["judge"])] = Cell.of(row)
    return numbers


def measures_of(numbers: Numbers) -> list[Measure]:
    """All measures: safety first, then the task, costs, and what tells a broken model last."""
    ranks = {metric: rank for rank, metric in enumerate(ORDER)} | dict.fromkeys(LAST, len(ORDER) + 1)
    found = dict.fromkeys(measure for cells in numbers.values() for measure in cells)
    return sorted(found, key=lambda measure: ranks.get(measure.metric, len(ORDER)))


def headline(numbers: Numbers) -> Grid:
    """Models against measures."""
    measures, models = measures_of(numbers), list(numbers)
    directions = {
        measure: next(cells[measure].higher_is_better for cells in numbers.values() if measure in cells)
        for measure in measures
    }
    of_measures = [(_with_direction(measure.title, directions[measure]), measure.under) for measure in measures]
    cells = [[numbers[model].get(measure) for model in models] for measure in measures]
    of_models = [(model, "") for model in models]
    if len(measures) >= len(models):
        return Grid(of_measures, of_models, cells)
    return Grid(of_models, of_measures, [list(column) for column in zip(*cells, strict=True)])


def _with_direction(title: str, higher_is_better: bool | None) -> str:
    return title if higher_is_better is None else f"{title} {'↑' if higher_is_better else '↓'}"


def by_category(evaluations: Sequence[Evaluation], metric: str) -> dict[Measure, dict[str, dict[str, Cell]]]:
    """For each suite and judge, for each category, the metric's cell of each model."""
    found: dict[Measure, dict[str, dict[str, Cell]]] = {}
    for evaluation in evaluations:
        for entry in evaluation.content["summary"]:
            if entry["metric"] == metric and entry["category"]:
                measure = Measure(entry["suite"], metric, entry["judge"] or "")
                categories = found.setdefault(measure, {})
                categories.setdefault(entry["category"], {})[evaluation.name] = Cell.of(entry)
    return found
