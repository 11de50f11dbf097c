r"""Rows as the model sees them: the decoded tokens, those that are supervised marked in the margin.

Every line has a margin, `>> |` for supervised tokens and `.. |` for the others, so that no text of a row can be taken
for a mark. Where the text has a line break, the line ends in `\n`.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.system.visible import visible


SUPERVISED, CONTEXT = ">> | ", ".. | "
SHOWN_CHARACTERS = 600
"""Longest piece of text that is shown whole; of a longer one, both ends are."""


def marked_row(input_ids: Sequence[int], labels: Sequence[int], tokenizer: Any, *, whole: bool = False) -> list[str]:
    """The lines of one row.

    Args:
        input_ids: Its tokens.
        labels: Their labels; -100 for a token that is not supervised.
        tokenizer: Decodes them.
        whole: Show long texts whole.
    """
    lines = []
    for supervised, group in groupby(zip(input_ids, labels, strict=True), lambda pair: pair[1] != IGNORED_LABEL):
        ids = [token for token, _ in group]
        text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        margin = SUPERVISED if supervised else CONTEXT
        lines += [margin + line for line in _lines(text if whole else _shortened(text))]
    return lines


def _lines(text: str) -> list[str]:
    lines = visible(text).split("\n")
    ended = [rf"{line}\n" for line in lines[:-1]]
    return ended + lines[-1:] if lines[-1] else ended


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]} [... {len(text) - 2 * half:,} characters ...] {text[-half:]}"
