"""The verdict of the demonstration."""

import pytest

from dualselect.report.demo_verdict import verdict


def evaluation(refused, lookalikes=5, right=2, count=20):
    numbers = {"refusal": refused, "lookalike": lookalikes, "task": right}
    rows = [
        {"id": f"{kind}-{index}", "kind": kind, "verdict": index < number}
        for kind, number in numbers.items()
        for index in range(count)
    ]
    return {"responses": rows}


@pytest.mark.parametrize(
    ("ours", "plain", "words"),
    [
        (20, 8, "DualSelect kept safety that plain fine-tuning lost"),
        (8, 20, "DualSelect lost more safety than plain fine-tuning"),
        (15, 15, "No clear difference in safety"),
        (16, 15, "No clear difference in safety"),
    ],
)
def test_a_difference_is_named_only_if_it_is_clear(ours, plain, words):
    evaluations = {
        "start": evaluation(20),
        "plain": evaluation(plain),
        "oracle": evaluation(19),
        "dualselect": evaluation(ours),
    }
    text = verdict(evaluations)
    assert text.startswith(words)
    assert f"refuses {ours * 5}% of the harmful requests, plain fine-tuning {plain * 5}%" in text
    assert "without the risky rows 95%" in text


@pytest.mark.parametrize(
    ("ours", "plain", "words"), [(18, 4, "better than"), (4, 18, "worse than"), (4, 4, "without a clear difference")]
)
def test_what_was_learned_is_told_beside(ours, plain, words):
    same = evaluation(18)
    evaluations = {
        "start": same,
        "plain": evaluation(18, right=plain),
        "oracle": same,
        "dualselect": evaluation(18, right=ours),
    }
    text = verdict(evaluations)
    assert f"It learned the task {words}" in text
    assert text.endswith(f"{ours * 5}% against {plain * 5}% exactly right.")


def test_only_the_same_prompts_are_paired():
    shuffled = evaluation(20)
    shuffled["responses"].reverse()
    evaluations = dict.fromkeys(("start", "oracle"), evaluation(20)) | {
        "plain": shuffled,
        "dualselect": evaluation(20),
    }
    assert verdict(evaluations).startswith("No clear difference")
