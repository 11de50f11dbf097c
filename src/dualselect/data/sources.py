"""Where rows come from: files, folders and hub names, with a choice of split, response and rows behind them."""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import datasets

from dualselect.data.columns import column_mapping
from dualselect.data.conversations import plain_rows
from dualselect.data.files import MAX_ROW_BYTES, PlacedRow, ending_of, read_file
from dualselect.data.folders import files_of
from dualselect.errors import DataError


_CHOICE = re.compile(r"#(?P<column>[^#/\[\]]*)$")
_SLICE = re.compile(r"\[(?P<slice>[^\[\]]*)\]$")
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")
_COLUMNS = re.compile(r"\?(?P<columns>[^?]*=[^?]*)$")
_SPLIT = re.compile(r":(?P<split>[\w.-]+)$")


@dataclass(frozen=True)
class Source:
    """One source of rows, as `PLACE`, `PLACE:split`, `PLACE#rejected`, `PLACE[start:stop]` or `PLACE?prompt=body`.

    A place may have several, in this order.

    Attributes:
        text: What the user wrote.
        place: A file, a folder, or a hub name with an optional `:split`.
        response_column: Which of a pair of responses is the response.
        rows: Which rows are taken, counted before any is dropped.
        split: The split of a folder that has several; empty for the default.
        columns: The name in the data of each known column name.
    """

    text: str
    place: str
    response_column: Literal["chosen", "rejected"] = "chosen"
    rows: slice = field(default_factory=lambda: slice(None))
    split: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str) -> "Source":
        """Take a source apart; a path that exists as it is written is a path.

        Raises:
            DataError: What is behind `#`, or between the brackets, is not known.
        """
        if Path(text).exists() and text:
            return cls(text, text)
        place, rows, column, columns = text, slice(None), "chosen", {}
        if found := _COLUMNS.search(place):
            place, columns = place[: found.start()], column_mapping(found["columns"])
        if found := _SLICE.search(place):
            place, rows = place[: found.start()], _slice_of(found["slice"], text)
        if found := _CHOICE.search(place):
            place, column = place[: found.start()], found["column"]
        if column not in ("chosen", "rejected"):
            raise DataError(f"{text}: #{column} is not known: write #chosen or #rejected behind the path")
        if not place:
            raise DataError(f"{text!r} names no file: write a path, or a hub name such as owner/name")
        split = ""
        if (found := _SPLIT.search(place)) and Path(place[: found.start()]).is_dir() and not Path(place).exists():
            place, split = place[: found.start()], found["split"]
        return cls(text, place, "rejected" if column == "rejected" else "chosen", rows, split, columns)

    @property
    def is_hub_name(self) -> bool:
        """Whether it can only be a name on the hub: nothing local has it, nor a folder its first part."""
        path = Path(self.place)
        local = path.exists() or path.parent.is_dir() or ending_of(path)
        return not local and _HUB_NAME.fullmatch(self.place) is not None

    @property
    def has_splits(self) -> bool:
        """Whether it may have several splits: a folder or a hub name."""
        return self.is_hub_name or Path(self.place).is_dir()

    def files(self, split: str | None = None) -> tuple[list[Path], list[str]]:
        """The local files of its rows, none for a hub name, and the names of the files of a folder that are not read.

        Args:
            split: The split of a folder where the source names none.

        Raises:
            DataError: It is a folder with something else in it, or without the split.
        """
        path = Path(self.place)
        if path.is_dir():
            return files_of(path, self.split or split or "")
        return [path] if path.is_file() else [], []

    def read(self, split: str | None, max_row_bytes: int = MAX_ROW_BYTES) -> tuple[list[PlacedRow], list[str]]:
        """Its rows, and the names of the files of a folder that are not read.

        Args:
            split: The split of a folder or hub name that has none of its own.
            max_row_bytes: Largest row, in bytes.

        Raises:
            DataError: It does not exist, cannot be read, or has fewer rows than are asked for.
        """
        ignored: list[str] = []
        if self.is_hub_name:
            rows = list(_hub_rows(self.place, split or "train"))
        else:
            if not Path(self.place).exists():
                raise _missing(Path(self.place))
            files, ignored = self.files(split)
            rows = [row for file in files for row in read_file(file, max_row_bytes)]
        self.check_bounds(len(rows))
        return rows[self.rows], ignored

    def check_bounds(self, count: int) -> None:
        """Refuse bounds that do not fit the rows there are.

        Args:
            count: Rows that were found; where there is a stop, those before it are enough.

        Raises:
            DataError: There is no row at all, a bound is beyond the last one, or there is none between the bounds.
        """
        if not count:
            raise DataError(f"{self.place}: holds no rows: write at least one into it")
        bounds = [bound for bound in (self.rows.start, self.rows.stop) if bound is not None]
        beyond = next((bound for bound in bounds if abs(bound) > count), None)
        if beyond is not None:
            raise DataError(
                f"{self.text}: {beyond} is beyond the end, {self.place} has {count:,} rows: lower it, or leave it "
                "out to take all"
            )
        if not range(count)[self.rows]:
            raise _no_row_between(self.text)


def _slice_of(text: str, source: str) -> slice:
    found = re.fullmatch(r"\s*(-?\d+)?\s*:\s*(-?\d+)?\s*", text)
    if not found:
        raise DataError(
            f"{source}: [{text}] is not a slice: write [start:stop], [:stop] or [start:] with whole numbers"
        )
    start, stop = (None if bound is None else int(bound) for bound in found.groups())
    first = start or 0
    if stop is not None and stop <= first and (stop < 0) == (first < 0):
        raise _no_row_between(source)  # for any file
    return slice(start, stop)


def _no_row_between(source: str) -> DataError:
    return DataError(f"{source}: these bounds hold no row: the start must come before the stop")


def _missing(path: Path) -> DataError:
    folder = path.parent
    if not folder.is_dir():
        return DataError(
            f"{path}: file not found, there is no folder {folder}: check the path; a hub name is written owner/name"
        )
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5) or names[:3]
    advice = f"nearest there: {', '.join(near)}" if near else "that folder is empty"
    return DataError(f"{path}: file not found in {folder.resolve()} ({advice}): correct the name")


def _hub_rows(place: str, default_split: str) -> Iterator[PlacedRow]:
    found = _HUB_NAME.fullmatch(place)
    assert found is not None  # is_hub_name
    name, split = found["name"], found["split"] or default_split
    try:
        dataset = datasets.load_dataset(name, split=split)
    except Exception as error:  # the hub's clients have no common error
        raise DataError(
            f"{place}: no such local path, and the hub gives no data set {name!r} with split {split!r} "
            f"({type(error).__name__}: {error}): check the name, the split (owner/name:split) and the connection"
        ) from error
    for number, row in enumerate(plain_rows(dataset), 1):
        yield f"{place}, row {number}", row
