"""Rows of any known format as conversations: one set of columns for everything that follows."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import datasets
from datasets import Dataset, Features, List, Value, concatenate_datasets

from dualselect.data.extras import TEMPLATE_COLUMNS as TEMPLATE_COLUMNS
from dualselect.data.formats import NO_RESPONSE, Conversation, Row, conversation_of, known_format
from dualselect.data.ids import distinct_ids, own_id, row_id
from dualselect.data.turns import text_of
from dualselect.data.values import from_arrow, is_nested
from dualselect.errors import DataError


logger = logging.getLogger(__name__)

FEATURES = Features(
    {
        "id": Value("string"),
        "prompt": List({"role": Value("string"), "content": Value("string")}),
        "completion": List({"role": Value("string"), "content": Value("string")}),
        "kind": Value("string"),
        "category": Value("string"),
        "rejected": Value("string"),
    }
)
_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}


def as_conversations(dataset: Dataset, *, name: str) -> Dataset:
    """The rows of a data set as conversations, one for each row and in the same order.

    Args:
        dataset: Rows in any known format. A known format wins over a column `text` next to it.
        name: What the messages call it.

    Returns:
        `id`, `prompt`, `completion`, `kind`, `category` and `rejected`, as `load_rows` gives them, and the columns of
        `TEMPLATE_COLUMNS` that a row has. Repeated ids are renamed; that, columns that are not used and turns that
        are cut are logged with their count.

    Raises:
        DataError: A row fits no format, or its prompt is empty; empty responses are left to `tokenize` to drop.
    """
    rows, left_out, cut = [], Counter[str](), 0
    for index, row in enumerate(plain_rows(dataset)):
        place = f"{name} row {index}" + (f" (id {row['id']!r})" if row.get("id") is not None else "")
        conversation = conversation_of(row, place)
        if conversation.lacks and conversation.lacks != NO_RESPONSE:  # tokenizing drops and counts these
            raise DataError(f"{place}: {conversation.lacks}: remove the row, or load the data with load_rows")
        rows.append(conversation_row(row, conversation, place))
        left_out.update(conversation.left_out)
        cut += conversation.cut_turns
    conversations, renamed = conversation_dataset(rows)
    if renamed:
        logger.warning("%s: %d repeated row ids were renamed with #2, #3, ...", name, renamed)
    if left_out:
        logger.warning("%s: columns left out: %s", name, counted(left_out))
    if cut:
        logger.warning("%s: %d turns behind the last response were cut", name, cut)
    if "text" in left_out and (known := known_format(dataset.column_names)) is not None:
        logger.warning("%s: trained on %s, and not on the column text", name, " and ".join(known.columns))
    return conversations


def plain_rows(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """The rows of a data set, objects without the keys that Arrow adds."""
    schema = dataset.features.arrow_schema
    nested = {column: schema.field(column).type for column in schema.names if is_nested(schema.field(column).type)}
    for row in dataset:
        yield {**row, **{column: from_arrow(row[column], kind) for column, kind in nested.items()}}


def conversation_row(row: Row, conversation: Conversation, place: str) -> dict[str, Any]:
    """The columns of one conversation; the id is a hash of the content where the row has none.

    Raises:
        DataError: The id, kind or category has a type that cannot be used.
    """
    completion = [conversation.completion]
    return {
        "id": own_id(row.get("id"), place) or row_id(conversation.prompt, completion),
        "prompt": conversation.prompt,
        "completion": completion,
        "kind": _label(row.get("kind"), "kind", place),
        "category": _label(row.get("category"), "category", place),
        "rejected": conversation.rejected,
        **conversation.template,
    }


def conversation_dataset(rows: Sequence[dict[str, Any]], *, keep_ids: bool = False) -> tuple[Dataset, int]:
    """A data set of conversation rows with distinct ids, unless they are kept, and how many ids were renamed."""
    given = [row["id"] for row in rows]
    ids, renamed = (given, 0) if keep_ids else distinct_ids(given)
    columns = {column: [row[column] for row in rows] for column in FEATURES} | {"id": ids}
    features = FEATURES.copy()
    for column in ("prompt", "completion"):
        extra = _key_features([turn for row in rows for turn in row[column]])
        features[column] = List(dict(FEATURES[column].feature) | extra)
        columns[column] = [[_encoded(turn, extra) for turn in turns] for turns in columns[column]]
    if any("tools" in row for row in rows):
        features["tools"] = Value("string")
        columns["tools"] = [row.get("tools") for row in rows]
    if any("chat_template_kwargs" in row for row in rows):
        features["chat_template_kwargs"] = datasets.Json()
        columns["chat_template_kwargs"] = [_text(row.get("chat_template_kwargs") or {}) for row in rows]
    return Dataset.from_dict(columns, features=features), renamed


def joined(parts: Sequence[Dataset]) -> Dataset:
    """Conversations one after the other, also where only some have tools or other keys in their turns."""
    if len(parts) == 1:
        return parts[0]
    if all(part.features == parts[0].features for part in parts):
        return concatenate_datasets(list(parts))
    rows = [
        {key: value for key, value in row.items() if value is not None} for part in parts for row in plain_rows(part)
    ]
    return conversation_dataset(rows, keep_ids=True)[0]


def turn_keys(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    """How many turns have each key other than role and content."""
    return Counter(
        key
        for row in rows
        for turn in (*row["prompt"], *row["completion"])
        for key in turn
        if key not in ("role", "content")
    )


def counted(counts: Counter[str]) -> str:
    """Names with their counts."""
    return ", ".join(f"{name} ({count:,})" for name, count in sorted(counts.items()))


def _key_features(turns: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The type of each key other than role and content: a plain type where all values have it, else JSON."""
    types: dict[str, set[type]] = {}
    for turn in turns:
        for key, value in turn.items():
            if key not in ("role", "content"):
                types.setdefault(key, set()).add(type(value))
    return {
        key: Value(_TYPES[next(iter(found))]) if len(found) == 1 and found <= _TYPES.keys() else datasets.Json()
        for key, found in sorted(types.items())
    }


def _encoded(turn: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    encoded = {key: turn.get(key) for key in ("role", "content", *extra)}
    # as JSON text, or the type would take a text that looks like JSON for what it says
    return encoded | {
        key: _text(turn[key]) for key, kind in extra.items() if key in turn and isinstance(kind, datasets.Json)
    }


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _label(value: Any, column: str, place: str) -> str:
    if isinstance(value, list):
        return ", ".join(_label(part, column, place) for part in value)
    return text_of(str(value) if isinstance(value, int) else value, column, place)
