"""Turns of a conversation: message lists and HH-RLHF transcripts, checked."""

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from dualselect.errors import DataError


Turn = dict[str, str]
ROLES = ("system", "user", "assistant")

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLE_OF = {"Human": "user", "Assistant": "assistant"}


def text_of(value: Any, column: str, place: str) -> str:
    """A cell as text; a missing one is empty.

    Raises:
        DataError: It is no text, or holds characters that no tokenizer takes.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {column} is of type {type(value).__name__}, not text: write it as a string (in JSON: in quotes)"
        )
    if "\0" in value:
        raise DataError(f"{place}: {column} holds a NUL character: the file is damaged or not text, export it again")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(
            f"{place}: {column} holds half of a surrogate pair (\\ud800 to \\udfff), which is no character: "
            "export the file again as UTF-8"
        )
    return value


def turns_of_messages(value: Any, column: str, place: str) -> list[Turn]:
    """The turns of a message list: an optional system turn, then user and assistant in alternation.

    Args:
        value: A list of objects with `role` and `content`.
        column: Where it comes from, for messages.
        place: Which row, for messages.

    Raises:
        DataError: It is no such list; the message names the turn.
    """
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else f"of type {type(value).__name__}"
        raise DataError(f'{place}: {column} is {found}: give a list of objects {{"role": ..., "content": ...}}')
    turns = [_turn(turn, f"{place}: turn {number} of {column}") for number, turn in enumerate(value, 1)]
    for number, (before, turn) in enumerate(zip([{"role": ""}, *turns], turns, strict=False), 1):
        if turn["role"] not in _FOLLOWERS[before["role"]]:
            raise DataError(
                f"{place}: turn {number} of {column} is by {turn['role']}, where {_FOLLOWERS[before['role']][-1]} is "
                "expected: turns go system (optional, first), then user and assistant in alternation; join turns that "
                "belong together"
            )
    return turns


def is_transcript(value: Any) -> bool:
    """Whether a text is written as HH-RLHF's conversations are."""
    return isinstance(value, str) and value.startswith("\n\nHuman:") and "\n\nAssistant:" in value


def turns_of_transcript(text: str, column: str, place: str) -> list[Turn]:
    r"""The turns of a transcript "\n\nHuman: ...\n\nAssistant: ..."; neighbors by one speaker are one turn.

    Raises:
        DataError: It has no such turns, or does not begin with the human.
    """
    head, *parts = _SPEAKER.split(text)
    spoken = [(_ROLE_OF[speaker], said.strip()) for speaker, said in zip(parts[::2], parts[1::2], strict=True)]
    if head.strip() or not spoken or spoken[0][0] != "user":
        raise DataError(
            rf'{place}: {column} is no transcript: it must begin with "\n\nHuman: ..." and go on with '
            rf'"\n\nAssistant: ..."; it begins with {text[:40]!r}. A response alone needs a column prompt beside it'
        )
    return [
        {"role": role, "content": "\n\n".join(said for _, said in group)}
        for role, group in groupby(spoken, key=lambda turn: turn[0])
    ]


_FOLLOWERS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
}


def _turn(turn: Any, place: str) -> Turn:
    if not isinstance(turn, Mapping):
        raise DataError(f'{place} is of type {type(turn).__name__}: give an object {{"role": ..., "content": ...}}')
    for key in ("role", "content"):
        if key not in turn:
            keys = ", ".join(map(str, turn)) or "none"
            raise DataError(f"{place} has no {key!r} (its keys: {keys}): rename or add it")
    role = turn["role"]
    if role not in ROLES:
        raise DataError(f"{place} has the unknown role {role!r}: use one of {', '.join(ROLES)}")
    if turn["content"] is None and role != "assistant":
        raise DataError(f"{place} has content null: give it a text, or remove the row")
    return {"role": role, "content": text_of(turn["content"], "its content", place)}
