"""Files of rows: JSONL, JSON, CSV, Parquet and Arrow, with errors that name the line."""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from dualselect.data.limits import MAX_ROW_BYTES as MAX_ROW_BYTES
from dualselect.data.limits import BoundedGzip, check_row, decoded_lines, whole_text
from dualselect.data.tables import PlacedRow as PlacedRow
from dualselect.data.tables import arrow_rows, csv_rows, parquet_rows
from dualselect.errors import DataError


ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".arrow", ".jsonl.gz", ".json.gz", ".csv.gz")

_PART = 2**20
_BEGINNINGS = {b"\x1f\x8b": "gzip", b"PAR1": "Parquet", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd"}


def ending_of(path: Path) -> str:
    """The known ending of a file name, empty if it has none."""
    return next((ending for ending in ENDINGS if path.name.lower().endswith(ending)), "")


def read_file(path: Path, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[PlacedRow]:
    """The rows of a file, each with its place ("file.jsonl, line 3") for messages.

    Args:
        path: A file with one of `ENDINGS`.
        max_row_bytes: Largest row, in bytes.

    Raises:
        DataError: The file cannot be read as what its name says, a row is too large or nested too deep; the message
            names the line where there are lines.
    """
    ending = ending_of(path)
    if not ending:
        raise DataError(
            f"{path}: the ending is not known: convert the file to, or name it, one of {', '.join(ENDINGS)}"
        )
    with _opened(path, ending) as file:
        yield from _READERS[ending.removesuffix(".gz")](file, path, max_row_bytes)


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
            yield cast(BinaryIO, BoundedGzip(raw, path)) if expected == "gzip" else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip stream is damaged or cut short ({error}): get the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}): check the path and its rights"
        ) from error


def _read_jsonl(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    for place, text in decoded_lines(file, path, max_row_bytes):
        if not text.strip():
            continue
        row = _parsed(text, place, "each line must be one whole JSON object")
        if not isinstance(row, dict):
            raise DataError(f"{place} is a JSON {_kind(row)}, not an object: each line must be an object {{...}}")
        check_row(row, text, place, max_row_bytes)
        yield place, row


def _read_json(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    text = whole_text(file, path, max_row_bytes)
    rows = _parsed(text, str(path), "a file with one object on each line is named .jsonl")
    if not isinstance(rows, list):
        raise DataError(
            f"{path}: the top level is a JSON {_kind(rows)}, not a list: write the rows as [{{...}}, {{...}}]"
        )
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number} is a JSON {_kind(row)}, not an object: each row must be an object")
        check_row(row, text, f"{path}, row {number}", max_row_bytes)
        yield f"{path}, row {number}", row


def _read_csv(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    text = whole_text(file, path, max_row_bytes)
    for place, row in csv_rows(text.encode(), path):
        check_row(row, text, place, max_row_bytes)
        yield place, row


_READERS = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": parquet_rows,
    ".arrow": arrow_rows,
}


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
