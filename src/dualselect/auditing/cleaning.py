"""A copy of the data without the rows that an audit advises against, never in place."""

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
    """What became of the rows.

    Attributes:
        kept: Rows in the copy.
        dropped: Rows left out.
        unscored: Of these, the rows that could not be scored.
    """

    kept: int
    dropped: int
    unscored: int


def check_cleaned(path: Path, rows: TaskRows, budget: str, *, sampled: bool, finished: bool) -> None:
    """Refuse what could not be written, before an audit starts.

    Args:
        path: The file.
        rows: The data.
        budget: As for `write_cleaned`.
        sampled: Whether some rows only are audited.
        finished: Whether the audit was finished before, so that the file may be the copy that it left.

    Raises:
        ConfigError: The file exists, lies in a folder of the data, has an ending that the data cannot be written as,
            or the budget is unknown; only a sample is audited.
        DataError: A row holds what JSON cannot say, or a file is damaged.
    """
    if sampled:
        raise ConfigError("--cleaned needs every row scored, and --sample scores some: leave one of the two out")
    _check_form(path, rows)
    if budget != RECOMMENDED and budget not in (known := [f"{one:g}" for one in BUDGETS]):
        raise ConfigError(f"--budget {budget} is not known: write {RECOMMENDED} or one of {', '.join(known)}")
    if path.exists() and any(path.samefile(file) for file in rows.files()):
        raise ConfigError(f"--cleaned {path} is one of the audited files, which are never changed: name another file")
    if folder := next((folder for folder in rows.folders() if folder in path.resolve().parents), None):
        raise ConfigError(
            f"--cleaned {path} lies in {folder}, which is task data, so that the next one to read the folder "
            "would take the copy for data too: name a file elsewhere"
        )
    if path.exists() and not finished:
        raise ConfigError(f"--cleaned {path} is there already: name another file")


def write_cleaned(
    path: Path, folder: Path, rows: TaskRows, budget: str = RECOMMENDED, *, quiet: bool = False
) -> Cleaned:
    """Write the rows that are kept, each as it is in the data.

    A `.jsonl` file has one JSON object a line; a `.parquet` file has the types of the Parquet files of the data. A
    file that holds just these rows is left as it is.

    Args:
        path: The file.
        folder: The finished audit of all rows.
        rows: The data.
        budget: `auto` for the rows without conflict, or one of `BUDGETS`.
        quiet: No progress bar.

    Raises:
        DataError: The data are no longer those of the audit, or a row holds what JSON cannot say.
        ConfigError: The file is there and holds something else.
    """
    counts = {"kept": 0, "dropped": 0, "unscored": 0}

    def kept_rows() -> Iterator[tuple[TaskRow, bool]]:
        audited = zip(rows, read_lines(folder / ROWS), strict=True)
        total = None if quiet else rows.expected()
        for row, line in tqdm(audited, total=total, desc="Writing the copy", unit="row", leave=False, disable=quiet):
            if row.number != line["row"] or row.id != line["id"]:
                raise DataError(f"row {row.number} is {row.id} and was {line['id']} in the audit: audit the data anew")
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
        raise ConfigError(f"--cleaned {path} is there already, and not what would be written: name another file")
    return Cleaned(**counts)


def _check_form(path: Path, rows: TaskRows) -> None:
    """Refuse an ending that the data cannot be written as."""
    tables = rows.table_files()
    if path.suffix == _TABLE and tables is None:
        raise ConfigError(
            f"--cleaned {path}: a Parquet copy is made of Parquet files, taken whole or by [start:stop]: give it a "
            f"name that ends in {_LINES}"
        )
    if path.suffix == _TABLE and len({str(_schema(file)) for file, _ in tables or []}) > 1:
        raise ConfigError(
            f"--cleaned {path}: the Parquet files of the data differ in their columns, which one copy cannot have: "
            "audit and clean each alone"
        )
    if path.suffix not in (_TABLE, _LINES):
        raise ConfigError(
            f"--cleaned {path}: the copy is written as JSONL{', or as Parquet' if tables else ''}: give it a name "
            f"that ends in {_LINES}{f' or {_TABLE}' if tables else ''}"
        )
    if path.suffix == _LINES:
        for row in rows:  # one reading more, and no failure after hours of scoring
            _json(row.raw, row.id, f", or give the copy a name that ends in {_TABLE}" if tables else "")


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: not a whole Parquet file ({error}): get or export it again") from error


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
