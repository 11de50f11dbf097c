"""A copy of the data without the rows that an audit recommends dropping. The data itself is never changed."""

import filecmp
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from dualselect.auditing.output_files import ROWS, read_lines
from dualselect.auditing.rows import TaskRow, TaskRows
from dualselect.auditing.settings import BUDGETS
from dualselect.errors import ConfigError, DataError
from dualselect.system.files import write_atomically


RECOMMENDED = "auto"
_TABLE, _LINES = ".parquet", ".jsonl"
_BATCH_ROWS = 4096


@dataclass(frozen=True)
class Cleaned:
    """Counts of rows kept and dropped.

    Attributes:
        kept: Rows in the copy.
        dropped: Rows left out.
        unscored: Dropped rows that could not be scored.
    """

    kept: int
    dropped: int
    unscored: int


def check_cleaned(path: Path, rows: TaskRows, budget: str, *, sampled: bool, finished: bool) -> None:
    """Check before an audit starts that the copy can be written.

    Args:
        path: The file.
        rows: The data.
        budget: As for `write_cleaned`.
        sampled: Whether only a sample of the rows is audited.
        finished: Whether the audit is already finished. In this case the file may be the copy that it wrote.

    Raises:
        ConfigError: The file exists, is in a folder of the data, or has a file extension that the data cannot be
            written as; the budget is unknown; or only a sample is audited.
        DataError: A row contains a value that JSON cannot represent, or a file is damaged.
    """
    if sampled:
        raise ConfigError("--cleaned needs every row scored, but --sample scores only some: leave one of them out")
    _check_form(path, rows)
    if budget != RECOMMENDED and budget not in (known := [f"{one:g}" for one in BUDGETS]):
        raise ConfigError(f"--budget {budget} is not known: write {RECOMMENDED} or one of {', '.join(known)}")
    if path.exists() and any(path.samefile(file) for file in rows.files()):
        raise ConfigError(f"--cleaned {path} is one of the audited files, which are never changed: name another file")
    if folder := next((folder for folder in rows.folders() if folder in path.resolve().parents), None):
        raise ConfigError(
            f"--cleaned {path} is in {folder}, which is task data: the next run that reads the folder would also "
            "read the copy as data. Name a file elsewhere"
        )
    if path.exists() and not finished:
        raise ConfigError(f"--cleaned {path} already exists: name another file")


def write_cleaned(
    path: Path, folder: Path, rows: TaskRows, budget: str = RECOMMENDED, *, quiet: bool = False
) -> Cleaned:
    """Write the rows that are kept, unchanged.

    A `.jsonl` file has one JSON object per line; a `.parquet` file has the types of the Parquet files of the data. An
    existing file with exactly these rows is not rewritten.

    Args:
        path: The file.
        folder: The finished audit of all rows.
        rows: The data.
        budget: `auto` for the rows without conflict, or one of `BUDGETS`.
        quiet: No progress bar.

    Raises:
        DataError: The data has changed since the audit, or a row contains a value that JSON cannot represent.
        ConfigError: The file exists and has different content.
    """
    counts = {"kept": 0, "dropped": 0, "unscored": 0}

    def kept_rows() -> Iterator[tuple[TaskRow, bool]]:
        audited = zip(rows, read_lines(folder / ROWS), strict=True)
        total = None if quiet else rows.expected()
        for row, line in tqdm(audited, total=total, desc="Writing the copy", unit="row", leave=False, disable=quiet):
            if row.number != line["row"] or row.id != line["id"]:
                raise DataError(
                    f"row {row.number} is {row.id} but was {line['id']} in the audit: audit the data again"
                )
            keeps = not line["unscored"] and _keeper(budget)(line)
            counts["kept" if keeps else "dropped"] += 1
            counts["unscored"] += bool(line["unscored"])
            yield row, keeps

    def write(file: BinaryIO) -> None:
        if path.suffix == _TABLE:
            _write_table(file, rows, np.fromiter((keeps for _, keeps in kept_rows()), bool))
        else:
            file.writelines(_json(row.raw, row.id) for row, keeps in kept_rows() if keeps)

    if not path.exists():
        write_atomically(path, write)
    elif not _holds(path, write):
        raise ConfigError(f"--cleaned {path} already exists with different content: name another file")
    return Cleaned(**counts)


def _check_form(path: Path, rows: TaskRows) -> None:
    """Reject a file extension that the data cannot be written as."""
    tables = rows.table_files()
    if path.suffix == _TABLE and tables is None:
        raise ConfigError(
            f"--cleaned {path}: a Parquet copy needs Parquet files as data, complete or with [start:stop]: use a "
            f"name that ends in {_LINES}"
        )
    if path.suffix == _TABLE and len({str(_schema(file)) for file, _ in tables or []}) > 1:
        raise ConfigError(
            f"--cleaned {path}: the Parquet files of the data have different columns, so they cannot be combined in "
            "one copy: audit and clean each file separately"
        )
    if path.suffix not in (_TABLE, _LINES):
        raise ConfigError(
            f"--cleaned {path}: the copy is written as JSONL{', or as Parquet' if tables else ''}: use a name "
            f"that ends in {_LINES}{f' or {_TABLE}' if tables else ''}"
        )
    if path.suffix == _LINES:
        for row in rows:  # an extra pass over the data, to avoid a failure after hours of scoring
            _json(row.raw, row.id, f", or give the copy a name that ends in {_TABLE}" if tables else "")


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is not a complete Parquet file ({error}): download or export it again") from error


def _write_table(file: BinaryIO, rows: TaskRows, keeps: np.ndarray) -> None:
    """The kept rows of the data's Parquet files, batch by batch, with their types."""
    tables = rows.table_files() or []
    schema = _schema(tables[0][0])
    before = 0
    with pq.ParquetWriter(file, schema) as writer:
        for path, taken in tables:
            number = 0
            for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH_ROWS):
                start, stop = (min(max(bound - number, 0), len(batch)) for bound in (taken.start, taken.stop))
                part = batch.slice(start, stop - start)
                writer.write_batch(part.filter(pa.array(keeps[before : before + len(part)])))
                before, number = before + len(part), number + len(batch)


def _holds(path: Path, write: Callable[[BinaryIO], object]) -> bool:
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".cleaned-") as file:
        write(cast(BinaryIO, file))
        file.flush()
        return filecmp.cmp(file.name, path, shallow=False)


def _keeper(budget: str) -> Callable[[dict[str, Any]], bool]:
    if budget == RECOMMENDED:
        return lambda line: not line["conflict"]
    return lambda line: bool(line["kept"][budget])


def _json(raw: dict[str, Any], name: str, advice: str = "") -> bytes:
    try:
        return (json.dumps(raw, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:  # a date; a number that is not finite, or an unpaired surrogate
        raise DataError(
            f"row {name} cannot be written as JSON ({error}): write its columns as UTF-8 text and finite "
            f"numbers{advice}"
        ) from error
