"""What an audit says in words."""

import pytest

from dualselect.auditing.scoring import NOT_FINITE
from dualselect.auditing.text import budgets_text, failure_text, recommended_text, visible_lines, worst_first


def test_what_is_recommended_can_be_typed():
    settings = {"task_token_budget": "auto", "reference_contrast": "rejected"}
    assert recommended_text({"settings": settings}) == "--task_token_budget auto --reference_contrast rejected"


def test_without_a_contrast_nothing_can_be_recommended():
    assert recommended_text({"settings": None}).startswith("none, ")


def test_a_score_that_no_training_goes_by_says_so():
    assert "not by tuned" in budgets_text("tuned")
    assert "not by" not in budgets_text("published")


@pytest.mark.parametrize(
    ("unscored", "share", "message"),
    [
        ({}, 0.2, ""),
        ({"empty response": 3}, 0.2, ""),
        ({}, 0.3, "30.0% of the rows are in conflict"),
        ({"empty response": 3}, None, "no row was scored"),
        ({NOT_FINITE: 2}, 0.0, "2 rows have values that are not finite"),
        ({NOT_FINITE: 3}, None, "3 rows have values that are not finite"),
    ],
)
def test_data_pass_only_where_it_is_known(unscored, share, message):
    data = {"unscored": unscored, "rows": 9, "drawn": 9}
    failure = failure_text(data, {"value": share, "high": share and 0.9}, 0.2)  # of all rows the share is known
    assert failure.startswith(message)
    assert bool(failure) == bool(message)


@pytest.mark.parametrize(
    ("value", "high", "message"),
    [
        (0.05, 0.2, ""),
        (0.05, 0.21, "of the 100 sampled rows 5.0% are in conflict, and the 95% interval for all rows reaches 21.0%"),
        (0.3, 0.4, "30.0% of the rows are in conflict, more than --fail_above 0.2"),
    ],
)
def test_a_sample_passes_only_with_its_whole_interval(value, high, message):
    failure = failure_text({"unscored": {}, "rows": 9000, "drawn": 100}, {"value": value, "high": high}, 0.2)
    assert failure.startswith(message)
    assert bool(failure) == bool(message)
    assert ("or omit --sample" in failure) == (message.startswith("of the 100"))


def test_categories_most_in_conflict_come_first():
    found = {name: {"conflict": {"value": value}} for name, value in {"b": 0.2, "c": None, "a": 0.2, "d": 1.0}.items()}
    assert [name for name, _ in worst_first(found)] == ["d", "a", "b", "c"]


def test_a_table_shows_what_a_terminal_would_act_on():
    lines = visible_lines([("kind", "rows"), ("\x1b[2Jchat\u202e\nmore", "1")])
    shown = "[U+001B][2Jchat[U+202E] more"
    assert lines == [f"{'kind':<{len(shown)}}  rows", f"{shown}  1"]
