"""Cells of rows: JSON text, values that JSON cannot say, damaged characters, depth and size."""

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from dualselect.errors import DataError


MAX_DEPTH = 200
"""Levels of lists and objects in a row."""


def parsed_text(value: Any, wanted: Any) -> Any:
    """A value that may be written as JSON text; the text itself where it is not JSON of a wanted type.

    Args:
        value: Any value.
        wanted: A type, or several, of the parsed value.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed if isinstance(parsed, wanted) and not is_deep(parsed) else value


def plain_value(value: Any) -> Any:
    """The value as JSON has it: text for dates, decimals and bytes."""
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    return value if value is None or isinstance(value, str | int | float) else str(value)


def from_arrow(value: Any, kind: pa.DataType, *, parse_json: bool = False) -> Any:
    """A value out of Arrow without the keys that are None: Arrow gives every object the keys of all objects.

    `content` stays where it is in a turn, since a null there means something.

    Args:
        value: The value as Python has it.
        kind: Its type in Arrow.
        parse_json: Whether values of the JSON type are still text.
    """
    if value is None or not is_nested(kind):
        return value
    if pa.types.is_struct(kind):
        is_turn = value.get("role") is not None
        return {
            child.name: from_arrow(value.get(child.name), child.type, parse_json=parse_json)
            for child in kind.fields
            if value.get(child.name) is not None or (is_turn and child.name == "content")
        }
    if isinstance(kind, pa.BaseExtensionType):
        return json.loads(value) if parse_json else value
    return [from_arrow(item, kind.value_type, parse_json=parse_json) for item in value]


def is_nested(kind: pa.DataType) -> bool:
    """Whether values of a type need `from_arrow`: objects, JSON, and lists of them."""
    if isinstance(kind, pa.BaseExtensionType):
        return str(kind.extension_name) == "arrow.json"
    return pa.types.is_struct(kind) or (is_list(kind) and is_nested(kind.value_type))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of a type are lists, in any of Arrow's layouts."""
    return any(
        check(kind)
        for check in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
        )
    )


def check_characters(value: Any, column: str, place: str) -> None:
    """Refuse characters that no tokenizer takes, in a text or in the texts of a nested value.

    Raises:
        DataError: The text contains a NUL character or an unpaired surrogate.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_characters([key, item], column, place)
    elif isinstance(value, list | tuple):
        for item in value:
            check_characters(item, column, place)
    elif isinstance(value, str):
        if "\0" in value:
            raise DataError(
                f"{place}: {column} holds a NUL character: the file is damaged or not text, export it again"
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{place}: {column} contains an unpaired surrogate (\\ud800 to \\udfff): "
                "export the file again as UTF-8"
            ) from None


def has_value(value: Any) -> bool:
    """Whether a cell holds anything."""
    return value is not None and not (isinstance(value, str | list | dict) and not value)


def is_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `MAX_DEPTH` levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for one in level
            if isinstance(one, list | dict)
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, list | dict)
        ]
        if not level:
            return False
    return True


def text_size(value: Any) -> int:
    """Characters of all texts in a nested value."""
    size, level = 0, [value]
    while level:
        one = level.pop()
        if isinstance(one, str | bytes):
            size += len(one)
        elif isinstance(one, Mapping):
            level += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple):
            level += one
    return size
