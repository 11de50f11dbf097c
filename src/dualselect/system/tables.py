"""Tables as text and as CSV, safe to look at and to open."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from dualselect.system.visible import one_line, visible


# A spreadsheet takes a cell that begins so for a formula; the last four are the wide forms of the first four.
FORMULA_STARTS = tuple("=+-@\t\n\uff1d\uff0b\uff0d\uff20")


def aligned(cells: Sequence[Sequence[str]]) -> str:
    """Cells in columns for a terminal, each on one line."""
    rows = [[one_line(cell) for cell in row] for row in cells]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as visible CSV; text that a spreadsheet would run gets an apostrophe in front, numbers stay numbers."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_inert(cell) for cell in row] for row in rows)
    return text.getvalue()


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
