"""The table as text, and the figure."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from runs_for_tests import made_comparison

from dualselect.comparison.figure import _spread, axes_of, pareto_figure
from dualselect.comparison.run_plan import read_json
from dualselect.comparison.text import aligned, markdown, notes, table_cells


@pytest.fixture
def content(tmp_path):
    return read_json(made_comparison(tmp_path) / "comparison.json")


def test_the_figure_is_svg_with_every_method(content):
    figure = pareto_figure(content)
    ElementTree.fromstring(figure[figure.index("<svg") :])
    for name in ("start", "sft", "lisa", "dualselect"):
        assert f">{name}</text>" in figure
    assert pareto_figure(content) == figure
    assert axes_of(content) == (("exact_match", "builtin-task", ""), ("safety_average", "", "pairs"))


def test_without_two_methods_there_is_no_figure(content):
    content["rows"] = [row for row in content["rows"] if row["method"] == "sft"]
    assert pareto_figure(content) is None


def test_names_never_cover_each_other():
    values = {f"m{n}": 0.9 + 0.001 * n for n in range(12)} | {"low": 0.1}
    heights = sorted(_spread(values).values())
    assert min(high - low for low, high in pairwise(heights)) == pytest.approx(0.05)
    assert heights[0] == 0.1
    assert heights[-1] <= 1.0
    assert len(_spread({f"m{n}": 0.5 for n in range(60)})) == 60


def test_the_table_has_a_line_for_each_method_and_marks_fewer_seeds(content):
    content["methods"][2]["seeds"] = [0]
    cells = table_cells(content)
    assert cells[0] == ["method", "harmful refused", "Safety Avg", "task exact", "time"]
    assert [row[0] for row in cells[1:]] == ["start", "sft", "lisa (1 seed)", "dualselect"]
    value = next(row for row in content["rows"] if row["method"] == "sft" and row["metric"] == "refusal_rate")
    assert cells[2][1] == f"{100 * value['value']:.0f}% [{100 * value['low']:.0f}, {100 * value['high']:.0f}]"
    assert len({len(line) for line in markdown(cells).splitlines()[1:2]}) == 1
    assert aligned(cells).splitlines()[0].startswith("method")
    assert markdown(cells).splitlines()[1] == "|---|---|---|---|---|"


def test_columns_that_a_title_cannot_tell_apart_name_suite_and_judge(content):
    more = [row | {"judge": "other"} for row in content["rows"] if row["metric"] == "refusal_rate"]
    content["rows"] += more
    assert {"harmful refused (refusal)", "harmful refused (other)"} <= set(table_cells(content)[0])


def test_what_a_reader_must_know_is_told(content):
    broken = {
        **content["rows"][0],
        "method": "lisa",
        "metric": "repetitive_rate",
        "suite": "builtin-task",
        "value": 0.4,
    }
    content["rows"].append(broken)
    unscored = next(row for row in content["rows"] if row["metric"] == "refusal_rate")
    unscored["unscored"] = 3
    lines = notes(content)
    assert "lisa: 40% of the responses in builtin-task are repetitive" in lines
    assert any("3 of 195 in builtin-harmful are unscored" in line for line in lines)
    assert "lisa: learning_rate 0.001 chosen by balance in 4 runs" in lines
    assert "dualselect, seed 2: failed: no memory was left" in lines
