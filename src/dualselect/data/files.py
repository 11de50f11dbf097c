"""Files, folders and hub names to raw rows, each with its place for messages.

A source is a path or a hub name, with two optional parts behind it: `#rejected` takes the rejected response of
preference rows, `[0:50]` takes a stretch of the rows. Both together: `hh.jsonl.gz#rejected[0:50]`.
"""

import csv
import difflib
import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from dualselect.errors import DataError


SUFFIXES = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")
_SOURCE = re.compile(r"(?P<name>[^#\[\]]+)(?:#(?P<response>[^\[\]]*))?(?:\[(?P<part>.*)\])?")


@dataclass(frozen=True)
class Source:
    """One place that rows come from.

    Attributes:
        name: Path or hub name.
        response_column: `chosen` or `rejected`, for preference rows.
        start: First row taken.
        stop: Row before which taking ends; None for the last.
    """

    name: str
    response_column: str = "chosen"
    start: int = 0
    stop: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Source":
        """Read `NAME[#chosen|#rejected][[START:STOP]]`.

        Raises:
            DataError: A part behind the name that is neither.
        """
        match = _SOURCE.fullmatch(text)
        if match is None:
            raise DataError(f"{text!r} is no source: write a path or hub name, then #rejected, then [start:stop]")
        response = match["response"] or "chosen"
        if response not in ("chosen", "rejected"):
            raise DataError(f"{text}: '#{response}' is unknown; write #chosen or #rejected, or nothing")
        part = re.fullmatch(r"(\d*):(\d*)", match["part"]) if match["part"] is not None else None
        if match["part"] is not None and part is None:
            raise DataError(f"{text}: [{match['part']}] is no range of rows; write for example [0:200], [:200] or [50:]")
        start, stop = (int(part[1] or 0), int(part[2]) if part[2] else None) if part else (0, None)
        return cls(match["name"], response, start, stop)

    def take(self, rows: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """The stretch of the rows that was asked for.

        Raises:
            DataError: The stretch lies beyond the end, or holds nothing.
        """
        if self.stop is not None and self.stop > len(rows):
            raise DataError(f"{self.name}: rows up to {self.stop} were asked for, it has {len(rows)}; lower the range")
        taken = rows[self.start : self.stop]
        if rows and not taken:
            raise DataError(
                f"{self.name}: the range [{self.start}:{'' if self.stop is None else self.stop}] of its {len(rows)} "
                "rows is empty; change it"
            )
        return taken


def read_source(source: Source) -> tuple[list[tuple[str, Any]], list[str]]:
    """All rows of a source with their places, and the names of the files of a folder that were left out.

    Raises:
        DataError: Nothing there, or it cannot be read; the message names file, line and what to do.
    """
    path = Path(source.name)
    if path.is_dir():
        rows, left_out = _folder(path)
    elif path.is_file():
        rows, left_out = list(_file(path)), []
    elif _looks_like_hub_name(source.name):
        rows, left_out = _hub(source.name), []
    else:
        raise DataError(_not_found(path))
    if not rows:
        raise DataError(f"{source.name} has no rows; give it at least one, or leave it out")
    return source.take(rows), left_out


def _folder(path: Path) -> tuple[list[tuple[str, Any]], list[str]]:
    files = sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    usable = [file for file in files if file.name.endswith(SUFFIXES)]
    if not usable:
        raise DataError(f"{path} has no data file; put files there that end in {', '.join(SUFFIXES)}")
    rows = [row for file in usable for row in _file(file)]
    return rows, [file.name for file in files if file not in usable]


def _file(path: Path) -> Iterator[tuple[str, Any]]:
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: unknown kind of file; it must end in {', '.join(SUFFIXES)}")
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        return _parquet(path)
    return {"jsonl": _json_lines, "json": _json, "csv": _csv}[kind](path, _content(path))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.name.endswith(".gz") else content
    except (EOFError, OSError) as error:  # gzip's own error is an OSError
        raise DataError(f"{path} cannot be read ({error}); check that it is whole, then copy or fetch it again") from error


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} line {line}: not UTF-8 (byte {content[error.start]:#04x}); save the file as UTF-8, for example "
            f"with: iconv -f latin1 -t utf-8 {path.name}"
        ) from error


def _json_lines(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(_decoded(path, content).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: broken JSON ({error.msg} at column {error.colno}); mend this line") from error
        yield where, _object(row, where)


def _json(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(_decoded(path, content))
    except json.JSONDecodeError as error:
        hint = " It may be JSON lines: name it .jsonl." if error.msg == "Extra data" else ""
        raise DataError(
            f"{path} line {error.lineno}: broken JSON ({error.msg} at column {error.colno}); mend it.{hint}"
        ) from error
    if not isinstance(rows, list):
        raise DataError(f"{path}: the top level is a {type(rows).__name__}; it must be a list of objects")
    for number, row in enumerate(rows, 1):
        where = f"{path} row {number}"
        yield where, _object(row, where)


def _csv(path: Path, content: bytes) -> Iterator[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(_decoded(path, content), newline=""), strict=True)
    try:
        for row in reader:
            where = f"{path} line {reader.line_num}"
            if None in row or None in row.values():
                raise DataError(
                    f"{where}: another number of columns than the {len(reader.fieldnames or [])} of the first line; "
                    "put texts with commas or line breaks in quotes"
                )
            yield where, row
    except csv.Error as error:
        raise DataError(f"{path} line {reader.line_num}: broken CSV ({error}); mend this line") from error


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error}); fetch or write it again") from error
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"{path} row {number}", row


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: this is a {type(row).__name__}; every row must be an object with named columns")
    return row


def _looks_like_hub_name(name: str) -> bool:
    shaped = re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.]+)?", name) is not None
    return shaped and not name.endswith(SUFFIXES) and not Path(name).parent.exists()


def _hub(name: str) -> list[tuple[str, Any]]:
    from datasets import load_dataset

    dataset, _, split = name.partition(":")
    try:
        rows: Iterable[Any] = load_dataset(dataset, split=split or "train")
    except Exception as error:  # the hub client raises many kinds, each of which means: not to be had
        raise DataError(
            f"{name} is neither a file or folder here nor a data set that could be loaded from the hub "
            f"({type(error).__name__}: {str(error)[:200]}). Check the name, or give the path of a file."
        ) from error
    return [(f"{name} row {number}", row) for number, row in enumerate(rows, 1)]


def _not_found(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path} does not exist, nor does its folder; check the path (relative ones start at {Path.cwd().name}/)"
    near = difflib.get_close_matches(path.name, [entry.name for entry in folder.iterdir()], n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; check the name"
    return f"{path} does not exist{hint}"
