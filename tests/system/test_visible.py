"""What a terminal or browser would act on, or hide, is spelled out."""

import pytest

from dualselect.system.visible import visible


@pytest.mark.parametrize(
    ("hidden", "told"),
    [
        ("\x1b[31mred", "[U+001B][31mred"),
        ("a\u202egnp.exe", "a[U+202E]gnp.exe"),
        ("\u2066isolated\u2069", "[U+2066]isolated[U+2069]"),
        ("zero\u200bwidth\ufeff", "zero[U+200B]width[U+FEFF]"),
        ("\U000e0041tag", "[U+E0041]tag"),
        ("half \ud800", "half [U+D800]"),
        ("\x00\x07\x9b\r", "[U+0000][U+0007][U+009B][U+000D]"),
    ],
)
def test_the_unseen_is_spelled_out(hidden, told):
    assert visible(hidden) == told


def test_ordinary_text_stays():
    text = "Zwölf Boxkämpfer\n\tשלום مرحبا नमस्ते 👩‍👩‍👧 می‌خواهم"
    assert visible(text) == text
    assert visible("line\r\nline") == "line\nline"
