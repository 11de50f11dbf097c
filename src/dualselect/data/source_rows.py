"""The sources of one run, as its settings name them: files, folders, hub names and built-in data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from dualselect.data import as_conversations, load_rows
from dualselect.data.builtin import KINDS, builtin_mix, builtin_rows
from dualselect.data.columns import with_columns
from dualselect.data.conversations import joined
from dualselect.data.files import MAX_ROW_BYTES
from dualselect.data.sources import Source
from dualselect.errors import ConfigError, DataError


BUILTIN = "builtin"
# `builtin` as task data: what a careless data set looks like, 15% of it risky.
BUILTIN_MIX = {"tasks": 200, "risky": 60, "lookalikes": 70, "chats": 70}
# `builtin:KIND` without a count or slice, and `builtin` as reference data: half refusals, half helpful answers.
BUILTIN_ROWS = 200
WANTED = "a file, a folder, a hub name, `builtin` or `builtin:KIND`"


@dataclass(frozen=True)
class SourceRows:
    """Rows of one role in the run.

    Attributes:
        sources: The sources, paths absolute.
        dataset: The rows: `id`, `prompt`, `completion`, `kind`, `category`, `rejected`.
        files: The local files that the rows came from.
        notes: What was read and what was dropped, one line each, for the log.
        unapplied_columns: Parts of a mapping of column names whose column no row has, with the nearest one; None
            where all rows are built in.
    """

    sources: list[str]
    dataset: Dataset
    files: list[Path]
    notes: list[str]
    unapplied_columns: tuple[str, ...] | None = None


def read_sources(sources: Sequence[str], role: str, *, max_row_bytes: int = MAX_ROW_BYTES) -> SourceRows:
    """Read all sources of a role.

    Args:
        sources: What `load_rows` takes, and `builtin`, `builtin:KIND`, `builtin:KIND:COUNT` or
            `builtin:KIND[START:STOP]`.
        role: `task_data` or `reference_data`, for messages; also says what `builtin` alone means.
        max_row_bytes: Largest row, in bytes.

    Raises:
        ConfigError: There is no source.
        DataError: A source cannot be read or has no rows.
    """
    if not sources:
        raise ConfigError(f"{role} is missing: write --{role} with {WANTED}")
    ordinary = [absolute_source(source) for source in sources if not is_builtin(source)]
    parts: list[Dataset] = []
    notes: list[str] = []
    missing: tuple[str, ...] | None = None
    if ordinary:
        loaded = load_rows(ordinary, max_row_bytes=max_row_bytes)
        parts.append(loaded.dataset)
        notes.append(loaded.report.describe())
        missing = loaded.report.unapplied_columns
    for source in filter(is_builtin, sources):
        parts.append(_builtin(source, role))
        notes.append(f"{source}: {len(parts[-1])} built-in rows")
    dataset = joined(parts)
    if not len(dataset):
        raise DataError(f"{role}: {', '.join(sources)} gave no rows; name sources that hold some")
    files = [file for source in ordinary for file in local_files(source)]
    return SourceRows([absolute_source(source) for source in sources], dataset, files, notes, missing)


def check_columns(roles: Mapping[str, SourceRows]) -> None:
    """Refuse a mapping of column names from a column that no role has; one that one role has suits all.

    Args:
        roles: The rows of each role.

    Raises:
        DataError: There is one; the message names the nearest column.
    """
    missing = [found.unapplied_columns for found in roles.values() if found.unapplied_columns is not None]
    for part in missing[0] if missing else ():
        if all(any(other.split(" ")[0] == part.split(" ")[0] for other in others) for others in missing):
            raise DataError(f"columns: the data have no such column: {part}")


def mapped_sources(sources: Sequence[str], columns: str | Mapping[str, str] | None) -> list[str]:
    """The sources with a mapping of column names behind each that has none of its own and is not built in.

    Raises:
        DataError: The mapping is not understood, or a known name is misspelled.
    """
    return [source if is_builtin(source) else with_columns(source, columns) for source in sources]


def absolute_source(source: str) -> str:
    """A source that means the same from every folder: a path that exists becomes absolute."""
    if is_builtin(source):
        return source
    place = Source.of(source).place
    return f"{Path(place).absolute()}{source[len(place) :]}" if Path(place).exists() else source


def local_files(source: str) -> list[Path]:
    """The files of a local source that hold rows; none for a hub name.

    Raises:
        DataError: It is a folder with something else in it.
    """
    return Source.of(source).files()[0]


def is_builtin(source: str) -> bool:
    """Whether a source is `builtin`, or a part of it."""
    return re.split(r"[:\[]", source)[0] == BUILTIN


def _builtin_pool() -> list[dict[str, Any]]:
    """Refusals and helpful answers to harmless look-alikes in turns; no prompt is in the built-in task data."""
    side, taken = BUILTIN_ROWS // 2, BUILTIN_MIX["lookalikes"]
    helpful = builtin_rows("lookalike", taken + side)[taken:]
    return [row for pair in zip(builtin_rows("refusal", side), helpful, strict=True) for row in pair]


def _builtin(source: str, role: str) -> Dataset:
    match = re.fullmatch(rf"{BUILTIN}(?::(\w+))?(?::(\d+))?(?:\[(\d*):(\d*)\])?", source)
    if match is None:
        raise DataError(
            f"{role}: {source} is not understood; write builtin, builtin:KIND, builtin:KIND:COUNT or "
            f"builtin:KIND[START:STOP], where KIND is one of {', '.join(KINDS)}"
        )
    kind, count, start, stop = match[1], *(int(number) if number else None for number in match.groups()[1:])
    if kind is None and role == "task_data":
        rows = builtin_mix(**BUILTIN_MIX)[start:stop]
    elif kind is None and role == "reference_data":
        rows = _builtin_pool()[start:stop]
    else:
        wanted = next(number for number in (count, stop, BUILTIN_ROWS) if number is not None)
        rows = builtin_rows(kind or "refusal", wanted)[start:stop]
    if not rows:
        raise DataError(f"{role}: {source} holds no rows; write a larger slice, such as builtin:task[0:100]")
    # an exact answer belongs to evaluations, which read the built-in rows themselves
    return as_conversations(Dataset.from_list(rows).remove_columns("answer"), name=source)
