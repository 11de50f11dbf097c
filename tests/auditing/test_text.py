"""What an audit says in words."""

import pytest

from dualselect.auditing.scoring import NOT_FINITE
from dualselect.auditing.text import budgets_text, failure_text, recommended_text


def test_what_is_recommended_can_be_typed():
    settings = {"task_token_budget": "auto", "reference_contrast": "rejected"}
    assert recommended_text({"settings": settings}) == "--task_token_budget auto --reference_contrast rejected"


def test_without_a_contrast_nothing_can_be_recommended():
    assert recommended_text({"settings": None}).startswith("none, ")


def test_a_score_that_no_training_goes_by_says_so():
    assert "not by tuned" in budgets_text("tuned")
    assert "not by" not in budgets_text("published")


@pytest.mark.parametrize(
    ("unscored", "share", "told"),
    [
        ({}, 0.2, ""),
        ({"empty response": 3}, 0.2, ""),
        ({}, 0.3, "30.0% of the rows are in conflict"),
        ({"empty response": 3}, None, "no row was scored"),
        ({NOT_FINITE: 2}, 0.0, "the numbers of 2 rows are not finite"),
        ({NOT_FINITE: 3}, None, "the numbers of 3 rows are not finite"),
    ],
)
def test_data_pass_only_where_it_is_known(unscored, share, told):
    failure = failure_text({"unscored": unscored}, share, 0.2)
    assert failure.startswith(told)
    assert bool(failure) == bool(told)
