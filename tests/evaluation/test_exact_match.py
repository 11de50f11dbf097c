import pytest

from dualselect.data.builtin import builtin_rows
from dualselect.evaluation import exact_match


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("3 * 4 = 12. The answer is 12.", "12"),
        ("The answer is 1,200.", "1200"),
        ("The answer is 1200", "1,200"),
        ("The answer is 12. Wait. The answer is 13.", "13"),
        ("The answer is 12.\nWait.\nThe answer is 13.\n", "13"),
        ('the answer is: "BOX".', "BOX"),
        ("The answer is **blue box.**", "blue box"),
        ("One.\nThe answer is 3.5", "3.5"),
    ],
)
def test_right(response, answer):
    assert exact_match(response, answer)


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("12", "12"),
        ("The answer is 120.", "12"),
        ("The answer is 12 or 13.", "12"),
        ("The answer is 13. Wait. The answer is 12.", "13"),
        ("The answer is box.", "BOX"),
        ("The answer is 1,2.", "12"),
        ("", "12"),
        ("The answer is", ""),
    ],
)
def test_wrong(response, answer):
    assert not exact_match(response, answer)


def test_every_built_in_task_answers_itself():
    rows = builtin_rows("task", 200, split="test")
    assert all(exact_match(row["completion"][0]["content"], row["answer"]) for row in rows)
    assert not any(exact_match(row["completion"][0]["content"], row["answer"] + "0") for row in rows)
