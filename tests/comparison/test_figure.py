"""The table as text, and the figure."""

import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest
from runs_for_tests import made_comparison

from dualselect.comparison.figure import _spread, axes_of, pareto_figure
from dualselect.comparison.formatting import markdown, notes, table_cells
from dualselect.comparison.run_plan import read_json
from dualselect.system.tables import aligned


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


def of_suite(content, metric, suite, judge, purpose, high=True):
    """The rows of a metric, one for each method."""
    made = {"metric": metric, "suite": suite, "judge": judge, "purpose": purpose, "higher_is_better": high}
    return [row | made for row in content["rows"] if row["metric"] == "refusal_rate"]


def test_few_exact_matches_give_way_to_probabilities_of_answers(content):
    likely = of_suite(content, "answer_probability", "builtin-task", "", "task")
    rows = [*content["rows"], *likely]
    assert axes_of(content | {"rows": rows})[0][0] == "exact_match"
    few = [row | ({"value": 0.1} if row["metric"] == "exact_match" else {}) for row in rows]
    assert axes_of(content | {"rows": few})[0][0] == "answer_probability"
    assert axes_of(content | {"rows": few[: -len(likely)]})[0][0] == "exact_match"


def test_what_has_no_direction_is_no_axis_and_is_not_called_harmful(content):
    chat = of_suite(content, "refusal_rate", "slimorca", "refusal", "chat", None)
    content["rows"] = chat + [row for row in content["rows"] if row["metric"] != "safety_average"]
    assert axes_of(content)[1] == ("refusal_rate", "builtin-harmful", "refusal")
    assert table_cells(content)[0] == ["method", "chat refused", "harmful refused", "task exact", "time"]
    content["rows"][0]["unscored"] = 1
    assert any("unscored (chat refused, refusal)" in line for line in notes(content))
    content["rows"] = [row for row in content["rows"] if row["suite"] != "builtin-harmful"]
    assert axes_of(content) is None


def test_attacks_on_harmful_prompts_come_before_unsafe_chats(content):
    chat, harmful = (
        of_suite(content, "attack_success_rate", suite, "llm", purpose, False)
        for suite, purpose in (("slimorca", "chat"), ("hex-phi", "harmful"))
    )
    exact = [row for row in content["rows"] if row["metric"] == "exact_match"]
    assert axes_of(content | {"rows": chat + harmful + exact})[1] == ("attack_success_rate", "hex-phi", "llm")
    assert "attacks fail" in pareto_figure(content | {"rows": chat + harmful + exact})
    assert axes_of(content | {"rows": chat + exact})[1] == ("attack_success_rate", "slimorca", "llm")
    assert "chat safe" in pareto_figure(content | {"rows": chat + exact})


def test_suites_that_safety_is_made_of_are_no_utility(content):
    safety = [row for row in content["rows"] if row["metric"] == "safety_average"]
    rates = {
        suite: of_suite(content, "win_rate", suite, "pairs", purpose)
        for suite, purpose in (("hex-phi", "harmful"), ("hh-prompts", "chat"), ("slimorca", "chat"))
    }
    unsafe = of_suite(content, "attack_success_rate", "hh-prompts", "llm", "chat", False)
    content["average"] = ["hex-phi", "hh-prompts"]
    content["rows"] = [*safety, *(row for some in rates.values() for row in some)]
    assert axes_of(content) == (("win_rate", "slimorca", "pairs"), ("safety_average", "", "pairs"))
    content["rows"] = safety + rates["hex-phi"] + rates["hh-prompts"]
    assert axes_of(content) is None
    content["average"] = ["hh-prompts"]
    assert axes_of(content) is None
    assert axes_of(content | {"average": [], "rows": unsafe + rates["hh-prompts"]}) is None


def test_a_win_rate_of_several_suites_is_no_utility(content):
    safety = of_suite(content, "refusal_rate", "harmful", "refusal", "harmful")
    several = of_suite(content, "win_rate", "average of harmful, hh", "pairs", "")
    assert axes_of(content | {"rows": safety + several}) is None
    one = of_suite(content, "win_rate", "slimorca", "pairs", "chat")
    assert axes_of(content | {"rows": safety + several + one})[0] == ("win_rate", "slimorca", "pairs")


def test_methods_on_fewer_seeds_are_counted_and_not_drawn(content):
    content["methods"][2]["seeds"] = [0]
    figure = pareto_figure(content)
    assert ">lisa</text>" not in figure
    assert "1 methods on fewer seeds are not shown" in figure
    content["methods"][3]["seeds"] = [0]
    assert ">lisa</text>" in pareto_figure(content)


def test_what_only_methods_on_fewer_seeds_have_is_no_axis(tmp_path):
    content = read_json(made_comparison(tmp_path, ("sft", "oracle", "lisa", "dualselect")) / "comparison.json")
    for method in content["methods"][3:]:
        method["seeds"] = [0]
    content["rows"] = [row for row in content["rows"] if row["method"] in ("lisa", "dualselect")]
    assert axes_of(content) is None
    assert pareto_figure(content) is None


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
    assert not any("optimizer steps" in line for line in lines)
    assert "lisa: learning_rate 0.001 chosen by balance in 4 runs" in lines
    assert "dualselect, seed 2: failed: no memory was left" in lines


@pytest.mark.parametrize(
    ("purpose", "value", "told"), [("task", 0.1, True), ("task", 0.09, False), ("chat", 0.9, False)]
)
def test_task_answers_that_were_cut_off_are_told(content, purpose, value, told):
    cut = {"method": "lisa", "metric": "truncated_rate", "suite": "long", "purpose": purpose, "value": value}
    content["rows"].append(content["rows"][0] | cut)
    content["rows"].append(content["rows"][-1] | {"method": "sft"})
    lines = [line for line in notes(content) if "truncated by" in line]
    assert [line.rpartition(": ")[2] for line in lines] == ["lisa 10%, sft 10%"] * told


def test_methods_that_differ_in_steps_are_told(content):
    start, sft, lisa, dualselect = content["methods"]
    start["steps"] = {}
    sft["steps"] = dualselect["steps"] = {"0": 13, "1": 13}
    lisa["steps"] = {"0": 13, "1": 13}
    assert not any("optimizer steps" in line for line in notes(content))
    lisa["steps"]["1"] = 11
    assert "optimizer steps: 11 to 13 for lisa; 13 for all others" in notes(content)
