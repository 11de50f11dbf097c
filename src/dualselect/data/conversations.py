"""From a row in any common format to one conversation: the turns before, and the response.

The canonical columns are `id`, `prompt` (the turns before the response), `completion` (the response, one assistant
turn), `kind`, `category` and `rejected` (a worse response to the same prompt, or empty). They are also what TRL calls
the conversational prompt-completion format.
"""

import re
from collections.abc import Mapping
from typing import Any

from datasets import Dataset, Features, List, Value

from dualselect.data.ids import row_id, unique_ids
from dualselect.errors import DataError


TURN = {"role": Value("string"), "content": Value("string")}
FEATURES = Features(
    {
        "id": Value("string"),
        "prompt": List(TURN),
        "completion": List(TURN),
        "kind": Value("string"),
        "category": Value("string"),
        "rejected": Value("string"),
    }
)
KNOWN_FORMATS = (
    "`messages`; `prompt` with `completion`; `instruction` (and `input`) with `output`; `question` with `answer`; "
    "`chosen` (and `rejected`) transcripts, or the two with `prompt`"
)
ROLES = ("system", "user", "assistant", "tool")

Turns = list[dict[str, str]]


def as_conversations(dataset: Dataset, *, name: str) -> Dataset:
    """Bring every row of a data set into the canonical columns; row order and number stay.

    A `prompt` and a `completion` that are plain strings stay so: as in TRL, such rows are text without a template.

    Args:
        dataset: Rows in one of the known formats, which may differ from row to row.
        name: What the messages call it.

    Raises:
        DataError: A row has no known format or a broken conversation; the message names the row.
    """
    columns = set(dataset.column_names)
    if {"prompt", "completion"} <= columns and isinstance(dataset[0]["prompt"], str):
        return _plain(dataset, name)
    rows = [conversation(row, where=f"{name} row {number}") for number, row in enumerate(dataset, 1)]
    for row, identity in zip(rows, unique_ids(row["id"] for row in rows)[0], strict=True):
        row["id"] = identity
    return Dataset.from_list(rows, features=FEATURES)


def conversation(row: Mapping[str, Any], *, where: str, response_column: str = "chosen") -> dict[str, Any]:
    """The canonical columns of one row.

    Args:
        row: The row as read.
        where: File and line, or data set and row, for messages.
        response_column: Which of `chosen` and `rejected` is the response of a preference row.

    Raises:
        DataError: No known format, or a broken conversation.
    """
    row = {key: value for key, value in row.items() if value is not None}
    prompt, response, other = _turns(row, where, response_column)
    completion = [{"role": "assistant", "content": response}]
    identity = row.get("id")
    if identity is not None and not isinstance(identity, str | int):
        raise DataError(f"{where}: `id` is {_short(identity)}; it must be a string or a whole number")
    return {
        "id": row_id(prompt, completion) if identity in (None, "") else str(identity),
        "prompt": prompt,
        "completion": completion,
        "kind": _label(row.get("kind")),
        "category": _label(row.get("category")),
        "rejected": other,
    }


def format_of(row: Mapping[str, Any]) -> str:
    """The columns that a row's conversation is taken from, in words; empty when no format fits."""
    for columns in (
        ("messages",),
        ("prompt", "completion"),
        ("prompt", "chosen"),
        ("chosen",),
        ("instruction", "output"),
        ("question", "answer"),
    ):
        if all(row.get(column) is not None for column in columns):
            return " + ".join(columns)
    return ""


def _turns(row: Mapping[str, Any], where: str, response_column: str) -> tuple[Turns, str, str]:
    found = format_of(row)
    if response_column == "rejected" and "chosen" not in found:
        raise DataError(f"{where}: #rejected was asked for, but the row has no `chosen` and `rejected`; leave it out")
    if found == "messages":
        return (*_split(_messages(row["messages"], where, "messages"), where, "messages"), "")
    if found == "prompt + completion":
        prompt = _prompt(row["prompt"], where)
        return prompt, _response(row["completion"], where, "completion"), ""
    if "chosen" in found:
        return _preference(row, where, response_column)
    if found == "instruction + output":
        extra = row.get("input") or ""
        parts = [_text(row["instruction"], where, "instruction"), _text(extra, where, "input")]
        return _user("\n\n".join(part for part in parts if part)), _text(row["output"], where, "output"), ""
    if found == "question + answer":
        return _user(_text(row["question"], where, "question")), _text(row["answer"], where, "answer"), ""
    columns = ", ".join(f"`{key}`" for key in row) or "no column with a value"
    raise DataError(f"{where}: no known format fits; it has {columns}. Known are: {KNOWN_FORMATS}. Rename its columns.")


def _preference(row: Mapping[str, Any], where: str, response_column: str) -> tuple[Turns, str, str]:
    other_column = "rejected" if response_column == "chosen" else "chosen"
    if row.get(response_column) is None:
        raise DataError(f"{where}: `{response_column}` is missing; give it, or take the other response")
    if "prompt" in row:
        prompt = _prompt(row["prompt"], where)
        response = _response(row[response_column], where, response_column)
        other = row.get(other_column)
        return prompt, response, "" if other is None else _response(other, where, other_column)
    prompt, response = _split(_transcript(row[response_column], where, response_column), where, response_column)
    other = ""
    if row.get(other_column) is not None:
        other_prompt, other_response = _split(
            _transcript(row[other_column], where, other_column), where, other_column
        )
        other = other_response if other_prompt == prompt else ""
    return prompt, response, other


def _transcript(value: Any, where: str, column: str) -> Turns:
    if not isinstance(value, str):
        return _messages(value, where, column)
    pieces = re.split(r"\n\n(Human|Assistant):", "\n\n" + value.lstrip("\n"))
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        {"role": roles[speaker], "content": said.strip()}
        for speaker, said in zip(pieces[1::2], pieces[2::2], strict=True)
    ]
    if pieces[0].strip() or not turns:
        raise DataError(
            f"{where}: `{column}` is no transcript, it begins with {_short(value)}; it must begin with 'Human:' and "
            "go on in turns of 'Human:' and 'Assistant:' with a blank line before each"
        )
    return turns


def _messages(value: Any, where: str, column: str) -> Turns:
    if not isinstance(value, list) or not value:
        raise DataError(f"{where}: `{column}` is {_short(value)}; it must be a list of turns with `role` and `content`")
    turns = []
    for number, turn in enumerate(value, 1):
        if not isinstance(turn, Mapping) or "role" not in turn or "content" not in turn:
            raise DataError(f"{where}: turn {number} of `{column}` is {_short(turn)}; it needs `role` and `content`")
        if turn["role"] not in ROLES:
            raise DataError(
                f"{where}: turn {number} of `{column}` has role {_short(turn['role'])}; roles are {', '.join(ROLES)}"
            )
        turns.append({"role": turn["role"], "content": _text(turn["content"], where, f"{column} turn {number}")})
    return turns


def _split(turns: Turns, where: str, column: str) -> tuple[Turns, str]:
    if turns[-1]["role"] != "assistant":
        raise DataError(f"{where}: `{column}` ends with a {turns[-1]['role']} turn; the last must be the assistant's")
    if len(turns) == 1:
        raise DataError(f"{where}: `{column}` has no turn before the response; put the user's turn first")
    return turns[:-1], turns[-1]["content"]


def _prompt(value: Any, where: str) -> Turns:
    return _user(value) if isinstance(value, str) else _messages(value, where, "prompt")


def _response(value: Any, where: str, column: str) -> str:
    if isinstance(value, str):
        return value
    turns = _messages(value, where, column)
    if turns[-1]["role"] != "assistant":
        raise DataError(f"{where}: `{column}` ends with a {turns[-1]['role']} turn; the last must be the assistant's")
    return turns[-1]["content"]


def _user(content: str) -> Turns:
    return [{"role": "user", "content": content}]


def _text(value: Any, where: str, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: `{column}` is {_short(value)}; it must be text")
    return value


def _label(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(dataset: Dataset, name: str) -> Dataset:
    rows = []
    for number, row in enumerate(dataset, 1):
        for column in ("prompt", "completion"):
            _text(row[column], f"{name} row {number}", column)
        identity = row.get("id")
        rows.append(
            {
                "id": row_id(row["prompt"], row["completion"]) if identity in (None, "") else str(identity),
                "prompt": row["prompt"],
                "completion": row["completion"],
                "kind": _label(row.get("kind")),
                "category": _label(row.get("category")),
                "rejected": _label(row.get("rejected")),
            }
        )
    for row, identity in zip(rows, unique_ids(row["id"] for row in rows)[0], strict=True):
        row["id"] = identity
    return Dataset.from_list(rows)
