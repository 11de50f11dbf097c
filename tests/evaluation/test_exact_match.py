import json

import pytest

from dualselect.data.builtin import builtin_rows
from dualselect.evaluation import exact_match
from dualselect.evaluation.exact_match import gsm8k_flexible, gsm8k_strict, is_number, stated_match


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


@pytest.mark.parametrize(
    ("response", "answer", "strict", "flexible"),
    [
        ("2 + 3 = 5.\n#### 5", "5", True, True),
        ("So it costs\n#### $1,200", "1200", True, True),
        ("#### 1200.00", "1,200", True, True),
        ("#### 4\nNo:\n#### 5", "5", True, True),
        ("#### 5 eggs", "5", True, True),
        ("####5.", "5", True, True),
        ("The answer is 5.", "5", False, True),
        ("It takes 12 days, 3 more than 9", "9", False, True),
        ("#### 5\nThat is 6 less than 11.", "5", True, False),
        ("#### -3", "-3", True, True),
        ("That is 10-12", "12", False, True),
        ("#### 50", "5", False, False),
        ("#### five", "5", False, False),
        ("12,34", "1234", False, False),
        ("", "5", False, False),
    ],
)
def test_gsm8k_answers(response, answer, strict, flexible):
    assert (gsm8k_strict(response, answer), gsm8k_flexible(response, answer)) == (strict, flexible)


def test_every_answer_of_gsm8k_answers_itself(shared_data):
    with (shared_data / "data" / "gsm8k_test.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert len(rows) == 1319
    for row in rows:
        answer = row["answer"].rpartition("####")[2].strip()
        assert is_number(answer)
        assert gsm8k_strict(row["answer"], answer)
        assert gsm8k_flexible(row["answer"], answer)
        assert not gsm8k_strict(row["answer"], f"1{answer.lstrip('-')}")


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("Paris", "Paris", True),
        (" **Paris**. ", "Paris", True),
        ("I think so. The answer is Paris.", "Paris", True),
        ("The answer is Rome.\n#### Paris", "Paris", True),
        ("It is Paris", "Paris", False),
        ("The answer is 18.0.", "18", True),
        ("The answer is 1,018", "18", False),
        ("", "Paris", False),
    ],
)
def test_answers_to_own_tasks(response, answer, right):
    assert stated_match(response, answer) is right
