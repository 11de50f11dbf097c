"""Rows of any known format as conversations: one set of columns for everything that follows."""

import logging
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets

from dualselect.data.formats import NO_RESPONSE, Conversation, Row, format_of
from dualselect.data.ids import distinct_ids, own_id, row_id
from dualselect.data.turns import text_of
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
TEMPLATE_COLUMNS = ("tools", "chat_template_kwargs")


def as_conversations(dataset: Dataset, *, name: str) -> Dataset:
    """The rows of a data set as conversations, one for each row and in the same order.

    Args:
        dataset: Rows in any known format; `tools` and `chat_template_kwargs` are kept.
        name: What the messages call it.

    Returns:
        `id`, `prompt`, `completion`, `kind`, `category` and `rejected`, as `load_rows` gives them; repeated ids are
        renamed and that is logged.

    Raises:
        DataError: A row fits no format, or its prompt is empty; empty responses are left to `tokenize` to drop.
    """
    rows = []
    for index, row in enumerate(dataset):
        place = f"{name} row {index}" + (f" (id {row['id']!r})" if row.get("id") is not None else "")
        conversation = format_of(row, place).convert(row, place)
        if conversation.lacks and conversation.lacks != NO_RESPONSE:  # tokenizing drops and counts these
            raise DataError(f"{place}: {conversation.lacks}: remove the row, or load the data with load_rows")
        rows.append(conversation_row(row, conversation, place))
    conversations, renamed = conversation_dataset(rows)
    if renamed:
        logger.warning("%s: %d repeated row ids were renamed with #2, #3, ...", name, renamed)
    extra = [column for column in TEMPLATE_COLUMNS if column in dataset.column_names]
    return concatenate_datasets([conversations, dataset.select_columns(extra)], axis=1) if extra else conversations


def conversation_row(row: Row, conversation: Conversation, place: str) -> dict[str, Any]:
    """The columns of one conversation; the id is a hash of the content where the row has none.

    Raises:
        DataError: The id, kind or category has a type that cannot be used.
    """
    completion = [{"role": "assistant", "content": conversation.response}]
    return {
        "id": own_id(row.get("id"), place) or row_id(conversation.prompt, completion),
        "prompt": conversation.prompt,
        "completion": completion,
        "kind": _label(row.get("kind"), "kind", place),
        "category": _label(row.get("category"), "category", place),
        "rejected": conversation.rejected,
    }


def conversation_dataset(rows: Sequence[dict[str, Any]]) -> tuple[Dataset, int]:
    """A data set of conversation rows with distinct ids, and how many ids were renamed."""
    ids, renamed = distinct_ids([row["id"] for row in rows])
    columns = {column: [row[column] for row in rows] for column in FEATURES} | {"id": ids}
    return Dataset.from_dict(columns, features=FEATURES), renamed


def _label(value: Any, column: str, place: str) -> str:
    if isinstance(value, list):
        return ", ".join(_label(part, column, place) for part in value)
    return text_of(str(value) if isinstance(value, int) else value, column, place)
