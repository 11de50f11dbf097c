"""A mapping of unusual column names onto those of the row formats (`columns: {prompt: body, completion: reply}`)."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from dualselect.data.extras import COMMON_COLUMNS
from dualselect.data.formats import FORMATS
from dualselect.errors import DataError


TARGETS = sorted(
    {column for known in FORMATS for column in (*known.columns, *known.optional)} | {*COMMON_COLUMNS, "rejected"}
)
"""Names that the row formats know."""


def column_mapping(columns: str | Mapping[str, str] | None) -> dict[str, str]:
    """The name in the data of each known name.

    Args:
        columns: A mapping, or text such as "prompt=body,completion=reply".

    Raises:
        DataError: It is no such text, a known name is misspelled or given twice.
    """
    if not columns:
        return {}
    pairs = list(columns.items()) if isinstance(columns, Mapping) else [_pair(part) for part in columns.split(",")]
    mapping = dict(pairs)
    for target in mapping:
        if target not in TARGETS:
            near = difflib.get_close_matches(str(target), TARGETS, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(TARGETS)}"
            raise DataError(f"columns: {target} is not a column of any row format; {advice}")
    if len(mapping) < len(pairs) or len(set(mapping.values())) < len(mapping):
        raise DataError(f"columns: {columns} names a column twice: write each once")
    return mapping


def with_columns(source: str, columns: str | Mapping[str, str] | None) -> str:
    """A source of rows with a mapping behind it; one that has its own keeps it.

    Raises:
        DataError: As of `column_mapping`.
    """
    mapping = column_mapping(columns)
    if not mapping or "?" in source:
        return source
    return f"{source}?{','.join(f'{target}={name}' for target, name in mapping.items())}"


def renamed(row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, Any]:
    """The row under known names; a column whose name was taken away from it becomes `NAME (replaced)`."""
    if not mapping:
        return dict(row)
    sources = {source: target for target, source in mapping.items() if source in row}
    kept = {
        f"{name} (replaced)" if name in sources.values() else name: value
        for name, value in row.items()
        if name not in sources
    }
    return {**kept, **{target: row[source] for source, target in sources.items()}}


def check_found(mapping: Mapping[str, str], found: Iterable[str], sources: str) -> None:
    """Refuse a mapping from columns that no row has.

    Args:
        mapping: Of `column_mapping`.
        found: The names of all columns.
        sources: What the message calls the data.

    Raises:
        DataError: There is one; the message names the nearest column.
    """
    if missing := unapplied(mapping, found):
        raise DataError(f"columns: {sources} has no such column: {'; '.join(missing)}")


def unapplied(mapping: Mapping[str, str], found: Iterable[str]) -> list[str]:
    """The parts of a mapping whose column is not there, each with the nearest one."""
    names, missing = sorted(found), []
    for target, source in mapping.items():
        if source not in names:
            near = difflib.get_close_matches(source, names, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            missing.append(f"{target}={source} ({advice})")
    return missing


def _pair(part: str) -> tuple[str, str]:
    target, equals, source = (piece.strip() for piece in part.partition("="))
    if not (target and equals and source):
        raise DataError(f"columns: {part!r} is not understood: write prompt=YOUR_COLUMN,completion=YOUR_OTHER_COLUMN")
    return target, source
