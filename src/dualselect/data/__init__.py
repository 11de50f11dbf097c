"""Rows in, tokens out, ids kept all the way."""

from dualselect.data.builtin import builtin_mix, builtin_rows
from dualselect.data.checks import check_overlap
from dualselect.data.conversations import as_conversations
from dualselect.data.ids import row_id
from dualselect.data.row_report import RowReport
from dualselect.data.rows import LoadedRows, load_rows
from dualselect.data.token_report import TokenReport
from dualselect.data.tokens import TokenizedRows, tokenize


__all__ = [
    "LoadedRows",
    "RowReport",
    "TokenReport",
    "TokenizedRows",
    "as_conversations",
    "builtin_mix",
    "builtin_rows",
    "check_overlap",
    "load_rows",
    "row_id",
    "tokenize",
]
