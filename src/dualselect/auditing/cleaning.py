"""A copy of the data without the rows that an audit advises against, never in place."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from dualselect.auditing.finishing import ROWS, read_lines
from dualselect.auditing.rows import TaskRows
from dualselect.auditing.settings import BUDGETS
from dualselect.errors import ConfigError, DataError
from dualselect.files import write_atomically


RECOMMENDED = "auto"


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


def check_cleaned(path: Path, rows: TaskRows, budget: str, *, sampled: bool) -> None:
    """Refuse what could not be written, before an audit starts.

    Raises:
        ConfigError: The file exists, is no `.jsonl`, or the budget is unknown; only a sample is audited.
    """
    if sampled:
        raise ConfigError("--cleaned needs every row scored, and --sample scores some: leave one of the two out")
    if path.suffix != ".jsonl":
        raise ConfigError(f"--cleaned {path}: the copy is written as JSONL: give it a name that ends in .jsonl")
    if budget != RECOMMENDED and budget not in (known := [f"{one:g}" for one in BUDGETS]):
        raise ConfigError(f"--budget {budget} is not known: write {RECOMMENDED} or one of {', '.join(known)}")
    if path.exists():
        own = any(path.samefile(file) for file in rows.files())
        what = "is one of the audited files, which are never changed" if own else "is there already"
        raise ConfigError(f"--cleaned {path} {what}: name another file")


def write_cleaned(path: Path, folder: Path, rows: TaskRows, budget: str = RECOMMENDED) -> Cleaned:
    """Write the rows that are kept, each as it stands in the data, one JSON object a line.

    Args:
        path: The file.
        folder: The finished audit of all rows.
        rows: The data.
        budget: `auto` for the rows without conflict, or one of `BUDGETS`.

    Raises:
        DataError: The data are no longer those of the audit, or a row holds what JSON cannot say.
    """
    counts = {"kept": 0, "dropped": 0, "unscored": 0}

    def write(file: BinaryIO) -> None:
        for row, line in zip(rows, read_lines(folder / ROWS), strict=True):
            if row.number != line["row"] or row.id != line["id"]:
                raise DataError(f"row {row.number} is {row.id} and was {line['id']} in the audit: audit the data anew")
            keeps = not line["unscored"] and _keeper(budget)(line)
            counts["kept" if keeps else "dropped"] += 1
            counts["unscored"] += bool(line["unscored"])
            if keeps:
                file.write(_json(row.raw, row.id))

    write_atomically(path, write)
    return Cleaned(**counts)


def _keeper(budget: str) -> Callable[[dict[str, Any]], bool]:
    if budget == RECOMMENDED:
        return lambda line: not line["conflict"]
    return lambda line: bool(line["kept"][budget])


def _json(raw: dict[str, Any], name: str) -> bytes:
    try:
        return (json.dumps(raw, ensure_ascii=False) + "\n").encode()
    except TypeError as error:
        raise DataError(f"row {name} cannot be written as JSON ({error}): turn its columns into text first") from error
