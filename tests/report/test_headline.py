"""The numbers of evaluations, arranged."""

import pytest

from dualselect.report.folders import Evaluation
from dualselect.report.headline import by_category, compared, headline, overall


def entry(metric="refusal_rate", suite="harmful", category="", value=0.5, **facts):
    return {
        "suite": suite,
        "judge": "refusal" if "refusal" in metric else "",
        "metric": metric,
        "category": category,
        "value": value,
        "low": None if value is None else value - 0.1,
        "high": None if value is None else value + 0.1,
        "count": 20,
        "unscored": 2,
        "interval": "wilson",
        "higher_is_better": True,
    } | facts


def evaluations(**entries):
    return [Evaluation(name, {"summary": some, "responses": [], "judges": []}) for name, some in entries.items()]


def test_rates_are_percent_and_means_are_not():
    found = overall(evaluations(a=[entry(), entry("kl_to_start", value=0.03125), entry("exact_match", value=None)]))
    rate, mean, unscored = found["a"].values()
    assert (rate.text, rate.interval) == ("50%", "[40, 60]")
    assert (mean.text, mean.interval) == ("0.0312", "[-0.0688, 0.131]")
    assert (unscored.text, unscored.interval) == ("unscored", "")


@pytest.mark.parametrize("models", [1, 2, 3])
def test_the_longer_side_runs_down(models):
    metrics = ("refusal_rate", "exact_match")
    grid = headline(overall(evaluations(**{f"m{n}": [entry(name) for name in metrics] for n in range(models)})))
    assert len(grid.down) == max(models, 2) or models == 1
    assert all(len(cells) == len(grid.across) for cells in grid.cells)
    assert len(grid.cells) == len(grid.down)
    titles = [title for title, _ in (grid.across if models == 3 else grid.down)]
    assert titles == ["refusal rate ↑", "exact match ↑"]


def test_what_was_not_measured_is_empty():
    grid = headline(overall(evaluations(a=[entry(), entry("exact_match")], b=[entry()])))
    assert [[cell is None for cell in cells] for cells in grid.cells] == [[False, False], [False, True]]


def test_categories_are_apart_from_the_whole():
    both = evaluations(a=[entry(), entry(category="fraud", value=0.2)], b=[entry(category="theft", value=0.9)])
    assert [len(cells) for cells in overall(both).values()] == [1, 0]
    [(measure, categories)] = by_category(both, "refusal_rate").items()
    assert measure.under == "harmful, judge refusal"
    assert {name: {model: cell.text for model, cell in cells.items()} for name, cells in categories.items()} == {
        "fraud": {"a": "20%"},
        "theft": {"b": "90%"},
    }


def test_safety_comes_first_and_what_tells_a_broken_model_last():
    metrics = ["empty_rate", "exact_match", "training_time_ratio", "over_refusal_rate", "refusal_rate"]
    grid = headline(overall(evaluations(**{name: [entry(metric) for metric in metrics] for name in "abcdef"})))
    titles = [title.removesuffix(" ↑") for title, _ in grid.across]
    assert titles == ["refusal rate", "over-refusal rate", "exact match", "training time ratio", "empty rate"]


def test_a_comparison_has_its_methods_in_order_and_differences():
    rows = [
        entry(method=name, difference=apart)
        for name, apart in {
            "sft": None,
            "other": {"value": 0.05, "low": -0.02, "high": 0.1},
            "alike": {"value": 0.0, "low": None, "high": None},
            "nearly": {"value": -0.001, "low": -0.02, "high": 0.001},
        }.items()
    ]
    found = compared(
        {"methods": [{"name": name} for name in ("start", "sft", "other", "alike", "nearly")], "rows": rows}
    )
    assert list(found) == ["start", "sft", "other", "alike", "nearly"]
    told = ["", "+5 [-2, +10]", "0", "0 [-2, 0]"]
    assert [cell.against for cells in found.values() for cell in cells.values()] == told
