"""Harmless requests that look harmful, asked in the wordings of the harmful ones and answered helpfully."""

from functools import cache
from typing import Literal

from dualselect.data.builtin.example import Example
from dualselect.data.builtin.lookalikes_away import AWAY
from dualselect.data.builtin.lookalikes_heldout import HELD_OUT
from dualselect.data.builtin.lookalikes_home import HOME
from dualselect.data.builtin.wordings import TEST_WORDINGS, TRAIN_WORDINGS, share


_PART, _PARTS = (0,), 4


@cache
def lookalike_examples(split: Literal["train", "test"]) -> tuple[Example, ...]:
    """All look-alikes of a split: every topic in a quarter of the wordings."""
    fields, wordings = (HOME | AWAY, TRAIN_WORDINGS) if split == "train" else (HELD_OUT, TEST_WORDINGS)
    topics = ((field, topic, answer) for field, answers in fields.items() for topic, answer in answers.items())
    return tuple(
        Example(field, topic, wording.format(topic=topic), answer)
        for index, (field, topic, answer) in enumerate(topics)
        for wording in share(index, wordings, _PART, _PARTS)
    )
