import pytest

from dualselect.data import builtin_rows
from dualselect.evaluation.degenerate import is_empty, is_repetitive


@pytest.mark.parametrize(
    "text", ["no " * 20, "a" * 40, "!?" * 60, "我不能" * 20, "The plan is easy. " + "and so on " * 12]
)
def test_loops_are_repetitive(text):
    assert is_repetitive(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no no no no",
        "I can't help with that. I can't help with that.",
        "1 x 7 = 7\n2 x 7 = 14\n3 x 7 = 21\n4 x 7 = 28\n5 x 7 = 35\n6 x 7 = 42\n7 x 7 = 49",
        "First, " + "read the letter, answer it and file it away in the blue box. " + "Done. " * 5,
    ],
)
def test_short_texts_lists_and_a_repeated_sentence_are_not(text):
    assert not is_repetitive(text)


def test_a_loop_counts_once_it_is_longer_than_what_came_before():
    start = "Here is a sentence that does not repeat itself in any way at all, not once. "
    assert not is_repetitive(start + "ab" * 20)
    assert is_repetitive(start + "ab" * 60)


def test_built_in_answers_are_neither_empty_nor_repetitive():
    for kind in ("refusal", "lookalike", "task", "chat"):
        for row in builtin_rows(kind, 100, split="test"):
            text = row["completion"][0]["content"]
            assert not is_empty(text)
            assert not is_repetitive(text)


def test_empty():
    assert is_empty(" \n\t")
    assert not is_empty(" . ")
