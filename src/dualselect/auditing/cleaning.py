"""A copy of the data without the rows that an audit advises against, never in place."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualselect.auditing.output_files import ROWS, read_lines
from dualselect.auditing.rows import TaskRows
from dualselect.auditing.settings import BUDGETS
from dualselect.errors import ConfigError, DataError
from dualselect.system.files import write_atomically


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


def check_cleaned(path: Path, rows: TaskRows, budget: str, *, sampled: bool, finished: bool) -> None:
    """Refuse what could not be written, before an audit starts.

    Args:
        path: The file.
        rows: The data.
        budget: As for `write_cleaned`.
        sampled: Whether some rows only are audited.
        finished: Whether the audit was finished before, so that the file may be the copy that it left.

    Raises:
        ConfigError: The file exists, lies in a folder of the data, is no `.jsonl`, or the budget is unknown; only a
            sample is audited.
    """
    if sampled:
        raise ConfigError("--cleaned needs every row scored, and --sample scores some: leave one of the two out")
    if path.suffix != ".jsonl":
        raise ConfigError(f"--cleaned {path}: the copy is written as JSONL: give it a name that ends in .jsonl")
    if budget != RECOMMENDED and budget not in (known := [f"{one:g}" for one in BUDGETS]):
        raise ConfigError(f"--budget {budget} is not known: write {RECOMMENDED} or one of {', '.join(known)}")
    if path.exists() and any(path.samefile(file) for file in rows.files()):
        raise ConfigError(f"--cleaned {path} is one of the audited files, which are never changed: name another file")
    if folder := next((folder for folder in rows.folders() if folder in path.resolve().parents), None):
        raise ConfigError(
            f"--cleaned {path} lies in {folder}, all of which is task data, so that the next one to read the folder "
            "would take the copy for data too: name a file elsewhere"
        )
    if path.exists() and not finished:
        raise ConfigError(f"--cleaned {path} is there already: name another file")


def write_cleaned(
    path: Path, folder: Path, rows: TaskRows, budget: str = RECOMMENDED, *, quiet: bool = False
) -> Cleaned:
    """Write the rows that are kept, each as it stands in the data, one JSON object a line.

    A file that holds just these is left as it is.

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

    def lines() -> Iterator[bytes]:
        audited = zip(rows, read_lines(folder / ROWS), strict=True)
        total = None if quiet else rows.expected()
        for row, line in tqdm(audited, total=total, desc="Writing the copy", unit="row", leave=False, disable=quiet):
            if row.number != line["row"] or row.id != line["id"]:
                raise DataError(f"row {row.number} is {row.id} and was {line['id']} in the audit: audit the data anew")
            keeps = not line["unscored"] and _keeper(budget)(line)
            counts["kept" if keeps else "dropped"] += 1
            counts["unscored"] += bool(line["unscored"])
            if keeps:
                yield _json(row.raw, row.id)

    if not path.exists():
        write_atomically(path, lambda file: file.writelines(lines()))
    elif not _holds(path, lines()):
        raise ConfigError(f"--cleaned {path} is there already, and not what would be written: name another file")
    return Cleaned(**counts)


def _holds(path: Path, lines: Iterator[bytes]) -> bool:
    with path.open("rb") as file:
        return all(file.read(len(line)) == line for line in lines) and not file.read(1)


def _keeper(budget: str) -> Callable[[dict[str, Any]], bool]:
    if budget == RECOMMENDED:
        return lambda line: not line["conflict"]
    return lambda line: bool(line["kept"][budget])


def _json(raw: dict[str, Any], name: str) -> bytes:
    try:
        return (json.dumps(raw, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:  # a date; a number that is not finite, or half of a surrogate pair
        raise DataError(
            f"row {name} cannot be written as JSON ({error}): write its columns as UTF-8 text and finite numbers"
        ) from error
