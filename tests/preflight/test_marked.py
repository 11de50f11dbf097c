"""Rows in lines: every character of the text once, in order, behind the margin of its tokens."""

import pytest
from tokenizers_for_tests import chatml_tokenizer

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.preflight.marked import CONTEXT, SUPERVISED, marked_row


def marked(text, supervised, **options):
    tokenizer = chatml_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    labels = [token if place in supervised(len(ids)) else IGNORED_LABEL for place, token in enumerate(ids)]
    return marked_row(ids, labels, tokenizer, **options)


def test_line_breaks_and_borders():
    assert marked("ab\n\ncd", lambda count: range(count - 1, count)) == [
        rf"{CONTEXT}ab\n",
        rf"{CONTEXT}\n",
        f"{CONTEXT}c",
        f"{SUPERVISED}d",
    ]


@pytest.mark.parametrize("text", [">> | x\x1b[2J\n.. | y", "\u202eabc\r\n>> | z"])
def test_nothing_of_a_row_looks_like_a_mark(text):
    lines = marked(text, lambda count: ())
    assert all(line.startswith(CONTEXT) for line in lines)
    assert "\x1b" not in "".join(lines)
    assert "\u202e" not in "".join(lines)


def test_long_texts_are_shown_by_their_ends():
    (line,) = marked("word " * 400 + "end", lambda count: ())
    assert "[... 1,403 characters ...]" in line
    assert line.endswith("word end")
    assert marked("word " * 400, lambda count: (), whole=True) == [CONTEXT + "word " * 400]
