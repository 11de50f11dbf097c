"""Turns of a conversation: message lists and HH-RLHF transcripts, checked and in one form.

A turn is a mapping with `role`, `content` and any other key of the data (`reasoning_content`, `tool_calls`,
`name`, ...): every other key is kept for the chat template. `train`, a boolean, says whether a turn is supervised.
"""

import json
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from dualselect.data.values import check_characters, parsed_text, plain_value
from dualselect.errors import DataError


Turn = dict[str, Any]
ROLES = ("system", "user", "assistant", "tool", "developer", "function")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""Keys under which transformers takes the reasoning of a turn."""

_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):")
_ROLE_OF = {"Human": "user", "Assistant": "assistant"}
# Names of roles in ShareGPT and Gemini files.
_SYNONYMS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function_response": "tool",
}
_TEXT_PARTS = ("text", "input_text", "output_text")
_FLAGS = ("train", "loss", "weight")
_READ_KEYS = ("role", "from", "content", "value", "tool_calls", "function_call", *_FLAGS)
_FOLLOWERS = {
    "": ("system", "developer", "user"),
    "system": ("developer", "user"),
    "developer": ("user",),
    "user": ("assistant",),
    "assistant": ("tool", "function", "user"),
    "tool": ("tool", "function", "user", "assistant"),
    "function": ("tool", "function", "user", "assistant"),
}


def text_of(value: Any, column: str, place: str) -> str:
    """A cell as text; a missing one is empty.

    Raises:
        DataError: It is not text, or holds characters that no tokenizer takes.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(
            f"{place}: {column} is of type {type(value).__name__}, not text: write it as a string (in JSON: in quotes)"
        )
    check_characters(value, column, place)
    return value


def content_of(turn: Mapping[str, Any]) -> str:
    """The text of a turn, empty where its content is null, as it is with tool calls."""
    return str(turn.get("content") or "")


def is_empty(turn: Mapping[str, Any]) -> bool:
    """Whether a turn has no text, no tool call and no reasoning."""
    parts = [turn.get("content"), *(turn.get(key) for key in REASONING_KEYS)]
    return not turn.get("tool_calls") and not any(part.strip() if isinstance(part, str) else part for part in parts)


def turns_of_messages(value: Any, column: str, place: str) -> list[Turn]:
    """The turns of a message list: system turns first, then user and assistant in alternation, tool turns between.

    Args:
        value: A list of objects with `role` and `content`, or `from` and `value`; also as JSON text.
        column: Where it comes from, for messages.
        place: Which row, for messages.

    Raises:
        DataError: It is no such list; the message names the turn.
    """
    value = parsed_text(value, list)
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else f"of type {type(value).__name__}"
        raise DataError(f'{place}: {column} is {found}: give a list of objects {{"role": ..., "content": ...}}')
    turns = [_turn(turn, f"{place}: turn {number} of {column}") for number, turn in enumerate(value, 1)]
    for number, (before, turn) in enumerate(zip([{"role": ""}, *turns], turns, strict=False), 1):
        if turn["role"] not in _FOLLOWERS[before["role"]]:
            raise DataError(
                f"{place}: turn {number} of {column} is by {turn['role']}, where {_FOLLOWERS[before['role']][-1]} is "
                "expected: turns go system (optional, first), then user and assistant in alternation, with the tool "
                "turns behind the assistant turn that calls them; join turns that belong together"
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
            rf'{place}: {column} is not a transcript: it must begin with "\n\nHuman: ..." and go on with '
            rf'"\n\nAssistant: ..."; it begins with {text[:40]!r}. A response alone needs a column prompt next to it'
        )
    return [
        {"role": role, "content": "\n\n".join(said for _, said in group)}
        for role, group in groupby(spoken, key=lambda turn: turn[0])
    ]


def _turn(turn: Any, place: str) -> Turn:
    if not isinstance(turn, Mapping):
        raise DataError(f'{place} is of type {type(turn).__name__}: give an object {{"role": ..., "content": ...}}')
    given = turn.get("role") if turn.get("role") is not None else turn.get("from")
    if given is None:
        raise _missing(turn, "role", place)
    role = _SYNONYMS.get(given, given) if isinstance(given, str) else given
    if role not in ROLES:
        raise DataError(f"{place} has the unknown role {given!r}: use one of {', '.join(ROLES)}, or human and gpt")
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    calls = _tool_calls(turn, place)
    if given == "function_call" and not calls and (calls := _calls_of_text(content)):
        content = None
    found: Turn = {"role": role, "content": _content(content, role, calls, turn, place)}
    if calls:
        found["tool_calls"] = calls
    for key, value in turn.items():
        if key not in _READ_KEYS and value is not None:
            check_characters(value, f"its {key}", place)
            found[str(key)] = plain_value(value)
    return found | _flags(turn, role, place)


def _missing(turn: Mapping[str, Any], key: str, place: str) -> DataError:
    keys = ", ".join(map(str, turn)) or "none"
    return DataError(f"{place} has no {key!r} (its keys: {keys}): rename or add it")


def _content(content: Any, role: str, calls: list[Any], turn: Mapping[str, Any], place: str) -> str | None:
    if content is None:
        if not {"content", "value", *REASONING_KEYS} & turn.keys() and not calls:
            raise _missing(turn, "content", place)
        if role != "assistant":
            raise DataError(f"{place} has content null: give it a text, or remove the row")
        return None if calls else ""
    if isinstance(content, list) and all(isinstance(part, str) or _type_of(part) for part in content):
        return "".join(_part(part, place) for part in content)
    if role in ("tool", "function") and isinstance(content, list | dict):
        content = json.dumps(plain_value(content), ensure_ascii=False)
    return text_of(content, "its content", place)


def _type_of(part: Any) -> Any:
    return part.get("type") if isinstance(part, Mapping) else None


def _part(part: Any, place: str) -> str:
    if isinstance(part, str):
        return text_of(part, "its content", place)
    if part["type"] not in _TEXT_PARTS:
        raise DataError(
            f"{place} has a content part of type {part['type']!r}: only text is trained on. Remove it, or the row"
        )
    return text_of(part.get("text"), "a text part of its content", place)


def _tool_calls(turn: Mapping[str, Any], place: str) -> list[Any]:
    calls = parsed_text(turn.get("tool_calls"), list)
    if not calls and (legacy := parsed_text(turn.get("function_call"), dict)):
        calls = [{"type": "function", "function": legacy}]
    if not calls:
        return []
    if not isinstance(calls, list) or not all(isinstance(call, Mapping) for call in calls):
        raise DataError(
            f"{place} has tool_calls that are not a list of objects: write them as "
            '[{"type": "function", "function": {"name": ..., "arguments": {...}}}]'
        )
    check_characters(calls, "its tool_calls", place)
    return [plain_value(call) for call in calls]


def _calls_of_text(content: Any) -> list[Any]:
    """The tool calls of a ShareGPT turn `function_call`; none if its text is not JSON, which is then its content."""
    parsed = parsed_text(content, list | dict)
    calls = parsed if isinstance(parsed, list) else [parsed]
    if not calls or not all(isinstance(call, Mapping) and "name" in call for call in calls):
        return []
    return [{"type": "function", "function": dict(call)} for call in calls]


def _flags(turn: Mapping[str, Any], role: str, place: str) -> Turn:
    """`train`, from `train`, `loss` or a weight of 0 or 1; another weight stays as it is."""
    found: Turn = {}
    for key in _FLAGS:
        value = turn.get(key)
        if value is None:
            continue
        if isinstance(value, str):
            value = {"true": True, "false": False, "1": True, "0": False}.get(value.lower(), value)
        if not isinstance(value, int | float) or (key != "weight" and value not in (0, 1)):
            raise DataError(
                f"{place} has {key}: {value!r}, which says neither that it is supervised nor that it is not: write "
                "true or false (weight: a number)"
            )
        if key == "weight" and value not in (0, 1):
            found["weight"] = float(value)
        elif role == "assistant" or value:
            found["train"] = bool(value) and found.get("train", True)
    return found
