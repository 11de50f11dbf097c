"""Ordinary requests: advice in the wordings of the harmful requests, explanations, and small talk."""

from collections.abc import Mapping
from functools import cache
from typing import Literal

from dualselect.data.builtin.chat_texts import ADVICE, EXPLANATIONS, SMALL_TALK
from dualselect.data.builtin.chat_texts_heldout import HELD_OUT_ADVICE, HELD_OUT_EXPLANATIONS, HELD_OUT_SMALL_TALK
from dualselect.data.builtin.example import Example
from dualselect.data.builtin.wordings import TEST_WORDINGS, TRAIN_WORDINGS, share


_ADVICE_PARTS, _EXPLANATION_PARTS = 4, 2
_EXPLANATION_WORDINGS = (
    "What is {topic}?",
    "Explain {topic} in simple words.",
    "Can you tell me briefly what {topic} is?",
    "I never understood this: what is {topic}?",
)
_TEST_EXPLANATION_WORDINGS = (
    *_EXPLANATION_WORDINGS,
    "Describe {topic} to a child.",
    "In one sentence, what is {topic}?",
)


@cache
def chat_examples(split: Literal["train", "test"]) -> tuple[Example, ...]:
    """All chat examples of a split."""
    if split == "train":
        return (
            *_asked("advice", ADVICE, TRAIN_WORDINGS, _ADVICE_PARTS),
            *_asked("explanation", EXPLANATIONS, _EXPLANATION_WORDINGS, _EXPLANATION_PARTS),
            *_asked("small_talk", SMALL_TALK, ("{topic}",), 1),
        )
    return (
        *_asked("advice", HELD_OUT_ADVICE, TEST_WORDINGS, _ADVICE_PARTS),
        *_asked("explanation", HELD_OUT_EXPLANATIONS, _TEST_EXPLANATION_WORDINGS, _EXPLANATION_PARTS),
        *_asked("small_talk", HELD_OUT_SMALL_TALK, ("{topic}",), 1),
    )


def _asked(category: str, answers: Mapping[str, str], wordings: tuple[str, ...], parts: int) -> list[Example]:
    return [
        Example(category, topic, wording.format(topic=topic), answer)
        for index, (topic, answer) in enumerate(answers.items())
        for wording in share(index, wordings, (0,), parts)
    ]
