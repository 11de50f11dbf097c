"""Rows of files as prompts: which column asks, and what else a row brings along."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dualselect.data.extras import system_of
from dualselect.data.formats import (
    CONVERSATION_COLUMNS,
    PLAIN_CONTEXT,
    Conversation,
    conversation_of,
    known_format,
    plain_prompt,
)
from dualselect.data.ids import own_id, row_id
from dualselect.data.turns import is_transcript, text_of, turns_of_messages, turns_of_transcript
from dualselect.errors import DataError
from dualselect.evaluation.suite import Prompt, Turns


Row = Mapping[str, Any]

_NO_RESPONSE: dict[str, Any] = {"role": "assistant", "content": ""}
_NAMES = "messages or prompt or instruction or question"

TEXT_COLUMNS = ("prompt", "instruction", "question", "query", "goal", "forbidden_prompt")
"""Columns that may hold a prompt as text, the first that is there counts."""
COLUMNS = (*CONVERSATION_COLUMNS, *TEXT_COLUMNS, "chosen")


def prompt_of(row: Row, place: str) -> Prompt:
    """The prompt of a row, with its id, category, kind, answer and responses where it has them.

    Args:
        row: A row with one of `COLUMNS`. A conversation that ends with the assistant's turn is a prompt and a
            response to it.
        place: Which row, for messages.

    Raises:
        DataError: No column holds a prompt, or one holds what cannot be used.
    """
    conversation = _conversation(row, place)
    return Prompt(
        id=own_id(row.get("id"), place) or row_id(conversation.prompt, ""),
        messages=conversation.prompt,
        category=label(row, "category", place),
        kind=label(row, "kind", place),
        answer=label(row, "answer", place).strip(),
        chosen=conversation.response,
        rejected=conversation.rejected,
    )


def label(row: Row, column: str, place: str) -> str:
    """A cell as text, numbers included; empty where there is none."""
    value = row.get(column)
    if isinstance(value, float) and value.is_integer():  # a table with an empty cell makes 18.0 of 18
        value = int(value)
    return text_of(str(value) if isinstance(value, int | float) else value, column, place)


def asked(text: str) -> Turns:
    """A prompt of one turn."""
    return [{"role": "user", "content": text}]


def _conversation(row: Row, place: str) -> Conversation:
    column = next((column for column in CONVERSATION_COLUMNS if row.get(column) is not None), None)
    if column is not None:
        return _messages(row, column, place)
    present = {column for column, value in row.items() if value is not None}
    if known_format(present) is not None:
        return conversation_of(row, place)
    column = next((column for column in TEXT_COLUMNS if column in present), None)
    if column is None:
        found = ", ".join(map(repr, row)) or "none"
        raise DataError(
            f"{place}: no column holds a prompt (found: {found}): name the one that does {_NAMES}. "
            "A CSV file needs a header line with these names"
        )
    value = row[column]
    if column == "prompt" and isinstance(value, list):
        found_turns = _ending_with_user(turns_of_messages(value, column, place), column, place)
    elif is_transcript(text_of(value, column, place)):
        found_turns = _ending_with_user(turns_of_transcript(value, column, place), column, place)
    else:
        found_turns = Conversation(asked(plain_prompt(row, (column, *PLAIN_CONTEXT), place)), _NO_RESPONSE)
    return _with_system(row, found_turns, place)


def _messages(row: Row, column: str, place: str) -> Conversation:
    turns = turns_of_messages(row[column], column, place)
    if turns[-1]["role"] == "assistant":
        return conversation_of(row, place)
    return _with_system(row, _ending_with_user(turns, column, place), place)


def _with_system(row: Row, found: Conversation, place: str) -> Conversation:
    return replace(found, prompt=[*system_of(row, found.prompt, place), *found.prompt])


def _ending_with_user(turns: Turns, column: str, place: str) -> Conversation:
    # the prompt of a transcript ends in an open "Assistant:"
    answered = turns[-1]["role"] == "assistant"
    prompt = turns[:-1] if answered else turns
    if not prompt or prompt[-1]["role"] not in ("user", "tool", "function"):
        raise DataError(f"{place}: {column} asks for nothing: end it with a user turn")
    return Conversation(prompt, turns[-1] if answered else _NO_RESPONSE)
