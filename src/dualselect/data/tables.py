"""Tables of rows: CSV, Parquet and the Arrow files of `save_to_disk`, with any types of columns."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from dualselect.data.limits import check_row, too_large
from dualselect.data.values import from_arrow
from dualselect.errors import DataError


PlacedRow = tuple[str, dict[str, Any]]

_ROWS_AT_ONCE = 1024
_MAX_BLOCK_BYTES = 2**31 - 1


def csv_rows(data: bytes, path: Path) -> Iterator[PlacedRow]:
    """The rows of a CSV file, every cell as text: "007" is an id, not a number.

    Args:
        data: The file, UTF-8 without a byte order mark.
        path: Its name, for messages.

    Raises:
        DataError: It is not a table; the message names the row.
    """
    ragged = list[csv.InvalidRow]()

    def note(row: csv.InvalidRow) -> str:
        ragged.append(row)
        return "skip"

    # One block, since no cell may cross two; with threads the number of a ragged row is not known.
    read = csv.ReadOptions(use_threads=False, block_size=min(len(data) + 1, _MAX_BLOCK_BYTES))
    parse = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
    try:
        names = csv.open_csv(io.BytesIO(data), read, parse).schema.names
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
    _check_names(names, path)
    for number, row in enumerate(table.to_pylist(), 1):
        yield f"{path}, row {number}", row


def parquet_rows(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    """The rows of a Parquet file.

    Raises:
        DataError: The file is damaged, names a column twice or has a row that is too large.
    """
    try:
        opened = pq.ParquetFile(file)
        _check_names(opened.schema_arrow.names, path)
        yield from _placed(opened.iter_batches(batch_size=_ROWS_AT_ONCE), path, max_row_bytes)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Parquet file ({error}): get or export it again") from error


def arrow_rows(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    """The rows of an Arrow file, as a stream or for random access.

    Raises:
        DataError: The file is damaged, names a column twice or has a row that is too large.
    """
    try:
        yield from _placed(arrow_batches(file), path, max_row_bytes)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a whole Arrow file ({error}): save the data set again") from error


def arrow_batches(file: BinaryIO) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file."""
    random_access = file.read(6) == b"ARROW1"
    file.seek(0)
    if random_access:
        opened = pa.ipc.open_file(file)
        yield from (opened.get_batch(number) for number in range(opened.num_record_batches))
    else:
        yield from pa.ipc.open_stream(file)


def _placed(batches: Iterable[pa.RecordBatch], path: Path, max_row_bytes: int) -> Iterator[PlacedRow]:
    number = 0
    for batch in batches:
        large = batch.nbytes > max_row_bytes
        for start in range(0, len(batch), _ROWS_AT_ONCE):
            part = batch.slice(start, _ROWS_AT_ONCE)
            if large:
                _check_sizes(part, path, number, max_row_bytes)
            columns = {name: _values(part.column(place)) for place, name in enumerate(part.schema.names)}
            for values in zip(*columns.values(), strict=True):
                number += 1
                row = dict(zip(columns, values, strict=True))
                check_row(row, "", f"{path}, row {number}", max_row_bytes)
                yield f"{path}, row {number}", row


def _check_sizes(batch: pa.RecordBatch, path: Path, before: int, max_row_bytes: int) -> None:
    for place in range(len(batch)):
        if batch.slice(place, 1).nbytes > max_row_bytes:
            raise too_large(f"{path}, row {before + place + 1}", max_row_bytes)


def _values(column: pa.Array) -> list[Any]:
    """The cells of a column; as text where Python has no such value, such as a date in the year 20000."""
    try:
        return [from_arrow(value, column.type, parse_json=True) for value in column.to_pylist()]
    except (ValueError, OverflowError, pa.ArrowException, ImportError):
        try:
            return list(column.cast(pa.string()).to_pylist())
        except pa.ArrowException:
            return [None if not cell.is_valid else f"(a value of type {column.type})" for cell in column]


def _check_names(names: list[str], path: Path) -> None:
    if len(set(names)) < len(names):
        raise DataError(f"{path}: the header names a column twice ({', '.join(names)}): rename one of the two")
