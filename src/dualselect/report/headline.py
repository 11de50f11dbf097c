"""The main table: one cell per measure and model; rates are in percent."""

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
"""Metrics in table order; others follow."""
LAST = ("empty_rate", "repetitive_rate", "truncated_rate")


class Measure(NamedTuple):
    """A metric on a suite, by a judge if it needs one."""

    suite: str
    metric: str
    judge: str

    @property
    def title(self) -> str:
        """The metric in words."""
        return self.metric.replace("over_refusal", "over-refusal").replace("kl_", "KL ").replace("_", " ")

    @property
    def under(self) -> str:
        """Suite and judge."""
        return ", ".join(filter(None, (self.suite, self.judge and f"judge {self.judge}")))


@dataclass(frozen=True)
class Cell:
    """A value with its interval, on the displayed scale.

    Attributes:
        value: None if no prompt could be scored.
        low: Lower end of the interval.
        high: Upper end of the interval.
        count: Number of scored prompts.
        unscored: Number of prompts without a verdict.
        percent: Whether the scale is percent.
        higher_is_better: None if neither direction is better.
        difference: Difference to the baseline as (value, low, high), with None for unknown ends; None without a
            baseline.
        purpose: Purpose of the prompts; empty if unknown.
        corrected: The value and its interval corrected for the judge's errors; None if these are unknown.
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
    corrected: tuple[float, float, float] | None = None

    @classmethod
    def of(cls, entry: dict[str, Any]) -> "Cell":
        """Create from an entry of an evaluation summary or a row of a comparison."""
        scale = 100 if entry["metric"] in RATES else 1
        value, low, high = _scaled(entry, scale)
        difference = entry.get("difference")
        return cls(
            value, low, high, entry["count"], entry["unscored"], scale == 100, entry["higher_is_better"],
            None if difference is None else _scaled(difference, scale), entry.get("purpose", ""),
            None if (ends := entry.get("corrected")) is None else (scale * ends[0], scale * ends[1], scale * ends[2]),
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The value as text."""
        return "unscored" if self.value is None else self._shown(self.value) + ("%" if self.percent else "")

    @property
    def interval(self) -> str:
        """The interval as text; empty without one."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self._shown(self.low)}, {self._shown(self.high)}]"

    @property
    def against(self) -> str:
        """The difference to the baseline and its interval as text; empty without one."""
        if self.difference is None:
            return ""
        shown = ((end, self._shown(end)) for end in self.difference if end is not None)
        value, *ends = (text if end <= 0 or text == "0" else f"+{text}" for end, text in shown)
        return f"{value} [{', '.join(ends)}]" if ends else value

    @property
    def corrected_text(self) -> str:
        """The corrected value and its interval as text; empty without one."""
        if self.corrected is None:
            return ""
        value, low, high = map(self._shown, self.corrected)
        return f"{value}% [{low}, {high}]"

    def _shown(self, number: float) -> str:
        return f"{number:z.0f}" if self.percent else f"{number:z.3g}"


def _scaled(entry: dict[str, Any], scale: float) -> tuple[Any, Any, Any]:
    value, low, high = (
        None if (number := entry[name]) is None else number * scale for name in ("value", "low", "high")
    )
    return value, low, high


@dataclass(frozen=True)
class Grid:
    """A table with its longer side as rows.

    Attributes:
        down: Row headings, each with a subheading.
        across: Column headings, each with a subheading.
        cells: Cells by row and column; None if a model lacks the measure.
    """

    down: list[tuple[str, str]]
    across: list[tuple[str, str]]
    cells: list[list[Cell | None]]


Numbers = dict[str, dict[Measure, Cell]]
"""Cells by model name and measure."""


def overall(evaluations: Sequence[Evaluation], category: str = "") -> Numbers:
    """The summary of each evaluation for one category; an empty category means all prompts."""
    return {
        evaluation.name: {
            Measure(entry["suite"], entry["metric"], entry["judge"] or ""): Cell.of(entry)
            for entry in evaluation.content["summary"]
            if (entry["category"] or "") == category
        }
        for evaluation in evaluations
    }


def compared(content: dict[str, Any]) -> Numbers:
    """The cells of a comparison, in its order of methods."""
    numbers: Numbers = {method["name"]: {} for method in content["methods"]}
    for row in content["rows"]:
        numbers[row["method"]][Measure(row["suite"], row["metric"], row["judge"])] = Cell.of(row)
    return numbers


def measures_of(numbers: Numbers) -> list[Measure]:
    """All measures in table order: safety, task, costs, and last the signs of a broken model."""
    ranks = {metric: rank for rank, metric in enumerate(ORDER)} | dict.fromkeys(LAST, len(ORDER) + 1)
    measures = dict.fromkeys(measure for cells in numbers.values() for measure in cells)
    return sorted(measures, key=lambda measure: ranks.get(measure.metric, len(ORDER)))


def headline(numbers: Numbers) -> Grid:
    """The main table of models and measures."""
    measures, models = measures_of(numbers), list(numbers)
    directions = {
        measure: next(cells[measure].higher_is_better for cells in numbers.values() if measure in cells)
        for measure in measures
    }
    measure_headings = [(_with_direction(measure.title, directions[measure]), measure.under) for measure in measures]
    cells = [[numbers[model].get(measure) for model in models] for measure in measures]
    model_headings = [(model, "") for model in models]
    if len(measures) >= len(models):
        return Grid(measure_headings, model_headings, cells)
    return Grid(model_headings, measure_headings, [list(column) for column in zip(*cells, strict=True)])


def _with_direction(title: str, higher_is_better: bool | None) -> str:
    return title if higher_is_better is None else f"{title} {'↑' if higher_is_better else '↓'}"


def by_category(evaluations: Sequence[Evaluation], metric: str) -> dict[Measure, dict[str, dict[str, Cell]]]:
    """The metric by suite and judge, category and model name."""
    cells: dict[Measure, dict[str, dict[str, Cell]]] = {}
    for evaluation in evaluations:
        for entry in evaluation.content["summary"]:
            if entry["metric"] == metric and entry["category"]:
                measure = Measure(entry["suite"], metric, entry["judge"] or "")
                categories = cells.setdefault(measure, {})
                categories.setdefault(entry["category"], {})[evaluation.name] = Cell.of(entry)
    return cells
