"""Rows in, tokens out, ids kept all the way."""

from dualselect.data.checks import check_overlap
from dualselect.data.contrast import compliance
from dualselect.data.conversations import as_conversations
from dualselect.data.loading import LoadedRows, RowReport, load_rows
from dualselect.data.tokens import TokenizedRows, TokenReport, tokenize


__all__ = [
    "LoadedRows",
    "RowReport",
    "TokenReport",
    "TokenizedRows",
    "as_conversations",
    "check_overlap",
    "compliance",
    "load_rows",
    "tokenize",
]
