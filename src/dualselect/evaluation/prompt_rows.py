"""Rows of files as prompts: which column asks, and what else a row brings along."""

from collections.abc import Mapping
from typing import Any

from dualselect.data.formats import FORMATS, Conversation, format_of
from dualselect.data.ids import own_id, row_id
from dualselect.data.turns import is_transcript, text_of, turns_of_messages, turns_of_transcript
from dualselect.errors import DataError
from dualselect.evaluation.suite import Prompt, Turns


Row = Mapping[str, Any]

TEXT_COLUMNS = ("prompt", "instruction", "question", "goal", "forbidden_prompt")
"""Columns that may hold a prompt as text, the first that is there counts."""
COLUMNS = ("messages", *TEXT_COLUMNS, "chosen")


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
    if row.get("messages") is not None:
        return _messages(row, place)
    present = {column for column, value in row.items() if value is not None}
    if any(present.issuperset(known.columns) for known in FORMATS):
        return format_of(row, place).convert(row, place)
    column = next((column for column in TEXT_COLUMNS if column in present), None)
    if column is None:
        found = ", ".join(map(repr, row)) or "none"
        raise DataError(
            f"{place}: no column holds a prompt (found: {found}): name the one that does {' or '.join(COLUMNS[:4])}. "
            "A CSV file needs a header line with these names"
        )
    value = row[column]
    if column == "prompt" and isinstance(value, list):
        return _ending_with_user(turns_of_messages(value, column, place), column, place)
    text = text_of(value, column, place)
    if is_transcript(text):
        return _ending_with_user(turns_of_transcript(text, column, place), column, place)
    if column == "instruction":
        text = "\n\n".join(part for part in (text, text_of(row.get("input"), "input", place)) if part)
    return Conversation(asked(text), "")


def _messages(row: Row, place: str) -> Conversation:
    turns = turns_of_messages(row["messages"], "messages", place)
    if turns[-1]["role"] == "assistant":
        return format_of({"messages": row["messages"], "rejected": row.get("rejected")}, place).convert(row, place)
    return _ending_with_user(turns, "messages", place)


def _ending_with_user(turns: Turns, column: str, place: str) -> Conversation:
    # the prompt of a transcript ends in an open "Assistant:"
    response = turns[-1]["content"] if turns[-1]["role"] == "assistant" else ""
    prompt = turns[:-1] if turns[-1]["role"] == "assistant" else turns
    if not prompt or prompt[-1]["role"] != "user":
        raise DataError(f"{place}: {column} asks for nothing: end it with a user turn")
    return Conversation(prompt, response)
