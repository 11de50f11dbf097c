"""Columns other than the conversation that the chat template takes: the system prompt, tools, options."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.data.turns import Turn, content_of, text_of
from dualselect.data.values import check_characters, has_value, parsed_text, plain_value
from dualselect.errors import DataError


TEMPLATE_COLUMNS = ("tools", "chat_template_kwargs")
"""Columns of a conversation row that are handed to the chat template; only where a row has them."""

SYSTEM_COLUMNS = ("system", "system_prompt")
COMMON_COLUMNS = ("id", "kind", "category", "documents", "functions", *TEMPLATE_COLUMNS, *SYSTEM_COLUMNS)
"""Columns that are used with every row format."""


def system_of(row: Mapping[str, Any], turns: Sequence[Turn], place: str) -> list[Turn]:
    """The system turn of a separate column, none where there is none or the turns begin with the same one.

    Raises:
        DataError: The column and the turns have different system prompts.
    """
    texts = [text_of(row.get(column), column, place) for column in SYSTEM_COLUMNS]
    text = next((text for text in texts if text.strip()), "")
    own = [content_of(turn) for turn in turns[:1] if turn["role"] in ("system", "developer")]
    if text and any(other.strip() not in ("", text.strip()) for other in [*texts, *own]):
        raise DataError(
            f"{place}: there are two system prompts, {text[:40]!r} in a column and another one in the turns or in "
            "another column: remove one of them"
        )
    return [{"role": "system", "content": text}] if text and not own else []


def template_values(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """`tools`, as JSON text, and `chat_template_kwargs` of a row, each only where it holds something.

    Tools are text since those of two rows rarely fit one Arrow type. `functions` are tools in OpenAI's older form, and
    `documents` are an option of the template.

    Raises:
        DataError: One of them has a form that no template takes.
    """
    tools = _of_type(row, "tools", list, "a list of objects", place) or [
        {"type": "function", "function": function}
        for function in _of_type(row, "functions", list, "a list of objects", place) or []
    ]
    options = _of_type(row, "chat_template_kwargs", Mapping, "an object", place) or {}
    options = {str(name): value for name, value in options.items() if value is not None}
    if documents := _of_type(row, "documents", list, "a list of objects", place):
        options["documents"] = documents
    given = row.get("tools")
    as_text = given if isinstance(given, str) and given.strip() else tools and json.dumps(plain_value(tools))
    found = {"tools": as_text, "chat_template_kwargs": plain_value(options)}
    return {name: value for name, value in found.items() if value}


def _of_type(row: Mapping[str, Any], column: str, wanted: Any, words: str, place: str) -> Any:
    value = parsed_text(row.get(column), list | dict)
    if not has_value(value) or (isinstance(value, str) and not value.strip()):
        return None
    if not isinstance(value, wanted):
        raise DataError(
            f"{place}: {column} is of type {type(value).__name__}, and the chat template takes {words}: write it so, "
            "as JSON text where the file has no lists, or remove the column"
        )
    check_characters(value, column, place)
    return value
