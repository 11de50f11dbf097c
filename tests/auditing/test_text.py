"""What an audit says in words."""

from dualselect.auditing.text import budgets_text, recommended_text


def test_what_is_recommended_can_be_typed():
    settings = {"task_token_budget": "auto", "reference_contrast": "rejected"}
    assert recommended_text({"settings": settings}) == "--task_token_budget auto --reference_contrast rejected"


def test_without_a_contrast_nothing_can_be_recommended():
    assert recommended_text({"settings": None}).startswith("none, ")


def test_a_score_that_no_training_goes_by_says_so():
    assert "not by tuned" in budgets_text("tuned")
    assert "not by" not in budgets_text("published")
