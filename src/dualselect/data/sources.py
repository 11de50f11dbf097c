"""Where rows come from: files, folders and hub names, with a choice of response and of rows behind them."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import datasets

from dualselect.data.files import PlacedRow, ending_of, read_file
from dualselect.errors import DataError


_CHOICE = re.compile(r"#(?P<column>[^#/\[\]]*)$")
_SLICE = re.compile(r"\[(?P<slice>[^\[\]]*)\]$")
_HUB_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?::(?P<split>[\w.-]+))?")
_BESIDE_DATA = re.compile(
    r"\..*|.*\.md|(README|LICENSE|NOTICE|CITATION|CHANGELOG|CHECKSUMS|\w+SUMS)\b.*", re.IGNORECASE
)


@dataclass(frozen=True)
class Source:
    """One source of rows, as `PLACE`, `PLACE#rejected`, `PLACE[start:stop]` or `PLACE#rejected[start:stop]`.

    Attributes:
        text: What the user wrote.
        place: A file, a folder, or a hub name with an optional `:split`.
        response_column: Which of a pair of responses is the response.
        rows: Which rows are taken, counted before any is dropped.
    """

    text: str
    place: str
    response_column: Literal["chosen", "rejected"] = "chosen"
    rows: slice = field(default_factory=lambda: slice(None))

    @classmethod
    def of(cls, text: str) -> "Source":
        """Take a source apart; a path that exists as it is written is a path.

        Raises:
            DataError: What is behind `#`, or between the brackets, is not known.
        """
        if Path(text).exists() and text:
            return cls(text, text)
        place, rows, column = text, slice(None), "chosen"
        if found := _SLICE.search(place):
            place, rows = place[: found.start()], _slice_of(found["slice"], text)
        if found := _CHOICE.search(place):
            place, column = place[: found.start()], found["column"]
        if column not in ("chosen", "rejected"):
            raise DataError(f"{text}: #{column} is not known: write #chosen or #rejected behind the path")
        if not place:
            raise DataError(f"{text!r} names no file: write a path, or a hub name such as owner/name")
        return cls(text, place, "rejected" if column == "rejected" else "chosen", rows)

    @property
    def is_hub_name(self) -> bool:
        """Whether it can only be a name on the hub: nothing local has it, nor a folder its first part."""
        path = Path(self.place)
        local = path.exists() or path.parent.is_dir() or ending_of(path)
        return not local and _HUB_NAME.fullmatch(self.place) is not None

    def read(self, split: str | None) -> tuple[list[PlacedRow], list[str]]:
        """Its rows, and the names of the files of a folder that were left aside.

        Args:
            split: The split of a hub name that has none of its own.

        Raises:
            DataError: It does not exist, cannot be read, or has fewer rows than are asked for.
        """
        ignored: list[str] = []
        if self.is_hub_name:
            rows = list(_hub_rows(self.place, split or "train"))
        else:
            path = Path(self.place)
            files, ignored = files_of(path) if path.is_dir() else ([path], [])
            if not path.exists():
                raise _missing(path)
            rows = [row for file in files for row in read_file(file)]
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
        raise DataError(f"{source}: [{text}] is no slice: write [start:stop], [:stop] or [start:] with whole numbers")
    start, stop = (None if bound is None else int(bound) for bound in found.groups())
    first = start or 0
    if stop is not None and stop <= first and (stop < 0) == (first < 0):
        raise _no_row_between(source)  # whatever the file holds
    return slice(start, stop)


def _no_row_between(source: str) -> DataError:
    return DataError(f"{source}: these bounds hold no row: the start must come before the stop")


def files_of(folder: Path) -> tuple[list[Path], list[str]]:
    """The files of a folder that hold rows, and the names of those that lie beside them, such as a README.

    Raises:
        DataError: Something there is neither, or there is no file of rows.
    """
    entries = sorted(folder.iterdir())
    files = [entry for entry in entries if entry.is_file() and ending_of(entry) and not entry.name.startswith(".")]
    ignored = [entry.name for entry in entries if entry not in files and _BESIDE_DATA.fullmatch(entry.name)]
    unknown = [entry.name for entry in entries if entry not in files and entry.name not in ignored]
    if unknown:
        raise DataError(
            f"{folder}: cannot use {', '.join(unknown[:5])}{' and more' * (len(unknown) > 5)} in this folder (known "
            "are .jsonl, .json, .csv, each also with .gz, and .parquet): move it elsewhere, or name the files instead"
        )
    if not files:
        raise DataError(f"{folder}: the folder holds no data files: put .jsonl, .json, .csv or .parquet files there")
    return files, ignored


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
    for number, row in enumerate(dataset, 1):
        yield f"{place}, row {number}", row
