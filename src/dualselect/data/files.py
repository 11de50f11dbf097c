"""Files of rows: JSONL, JSON, CSV and Parquet, with errors that name the line."""

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from dualselect.errors import DataError


PlacedRow = tuple[str, dict[str, Any]]
ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")

_PART = 2**20
_BEGINNINGS = {b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"PK\x03\x04": "zip"}


def ending_of(path: Path) -> str:
    """The known ending of a file name, empty if it has none."""
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), "")


def read_file(path: Path) -> Iterator[PlacedRow]:
    """The rows of a file, each with its place ("file.jsonl, line 3") for messages.

    Args:
        path: A file with one of `ENDINGS`.

    Raises:
        DataError: The file cannot be read as what its name says; the message names the line where there are lines.
    """
    ending = ending_of(path)
    if not ending:
        raise DataError(
            f"{path}: the ending is not known: convert the file to, or name it, one of {', '.join(ENDINGS)}"
        )
    with _opened(path, ending) as file:
        yield from _READERS[ending.removesuffix(".gz")](file, path)


def count_rows(path: Path, most: int | None = None) -> int | None:
    """About how many rows a file holds, without reading them as rows, for a progress bar.

    Args:
        path: A file with one of `ENDINGS`.
        most: Count no further.

    Returns:
        Lines of a JSONL file, blank ones too, and rows of a Parquet file; None for the others, which are read whole,
        and for a file that cannot be read, as reading it tells better.
    """
    ending = ending_of(path)
    if ending.removesuffix(".gz") not in (".jsonl", ".parquet"):
        return None
    with suppress(DataError, pa.ArrowException, OSError), _opened(path, ending) as file:
        if ending == ".parquet":
            return int(pq.ParquetFile(file).metadata.num_rows)
        lines, last = 0, b""
        for part in iter(lambda: file.read(_PART), b""):
            lines, last = lines + part.count(b"\n"), part[-1:]
            if most is not None and lines >= most:
                return most
        return lines + (last != b"\n")
    return None


@contextmanager
def _opened(path: Path, ending: str) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as raw:
            beginning = raw.read(4)
            if not beginning:
                raise DataError(f"{path}: the file is empty: write at least one row into it")
            raw.seek(0)
            actual = next((kind for start, kind in _BEGINNINGS.items() if beginning.startswith(start)), "")
            expected = "gzip" if ending.endswith(".gz") else "Parquet" if ending == ".parquet" else ""
            if actual != expected:
                raise DataError(
                    f"{path}: the file is {actual or 'not ' + expected} inside, which {ending} does not say: rename "
                    "it by what it holds, or export it again"
                )
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if expected == "gzip" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged or cut short ({error}): get the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}): check the path and its rights"
        ) from error


def _read_jsonl(file: BinaryIO, path: Path) -> Iterator[PlacedRow]:
    for number, line in enumerate(file, 1):
        place = f"{path}, line {number}"
        text = _decoded(line, place, first=number == 1)
        if not text.strip():
            continue
        row = _parsed(text, place, "each line must be one whole JSON object")
        if not isinstance(row, dict):
            raise DataError(f"{place} is a JSON {_kind(row)}, not an object: each line must be an object {{...}}")
        yield place, row


def _read_json(file: BinaryIO, path: Path) -> Iterator[PlacedRow]:
    lines = [_decoded(line, f"{path}, line {n}", first=n == 1) for n, line in enumerate(file, 1)]
    rows = _parsed("".join(lines), str(path), "a file with one object on each line is named .jsonl")
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: the top level is a JSON {_kind(rows)}, not a list: write the rows as [{{...}}, {{...}}]"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number} is a JSON {_kind(row)}, not an object: each row must be an object")
        yield f"{path}, row {number}", row


def _read_csv(file: BinaryIO, path: Path) -> Iterator[PlacedRow]:
    text = "".join(_decoded(line, f"{path}, line {n}", first=n == 1) for n, line in enumerate(file, 1))
    data, ragged = text.encode(), list[csv.InvalidRow]()

    def note(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    read = csv.ReadOptions(use_threads=False)  # with threads the number of a ragged row is not told
    parse = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    try:
        names = csv.open_csv(io.BytesIO(data), read, parse).schema.names
        # as text: "007" is an id, not a number
        convert = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), null_values=[])
        ragged.clear()
        table = csv.read_csv(io.BytesIO(data), read, parse, convert)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a CSV file ({error}): export it again, with a header line") from error
    if ragged:
        raise DataError(
            f"{path}, row {ragged[0].number} has {ragged[0].actual_columns} cells where the header has "
            f"{ragged[0].expected_columns}: put cells that hold commas, quotes or line breaks in double quotes"
        )
    if len(set(names)) < len(names):
        raise DataError(f"{path}: the header names a column twice ({', '.join(names)}): rename one of the two")
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"{path}, row {number}", row


def _read_parquet(file: BinaryIO, path: Path) -> Iterator[PlacedRow]:
    try:
        batches = pq.ParquetFile(file).iter_batches()
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}): get or export it again") from error


_READERS = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}


def _decoded(line: bytes, place: str, *, first: bool) -> str:
    try:
        return (line.removeprefix(codecs.BOM_UTF8) if first else line).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{place} is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1}): save the file as "
            "UTF-8 text; if it holds no text, name it by what it is"
        ) from error


def _parsed(text: str, place: str, advice: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        # a .json file has many lines, a line of .jsonl is one
        place = f"{place}, line {error.lineno}" if error.lineno > 1 or ", line " not in place else place
        raise DataError(f"{place}: broken JSON at column {error.colno} ({error.msg}): {advice}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: JSON that cannot be read ({error}): {advice}") from error


def _kind(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
