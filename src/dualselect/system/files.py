"""Files that appear whole or not at all: write a temporary file, fsync, rename."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

from dualselect.errors import ConfigError


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Args:
        path: The file; its folder is created.
        write: Called once with the open binary file.

    Raises:
        OSError: The folder cannot be written or the disk is full; `path` is untouched and nothing is left next to it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).chmod(0o666 & ~_umask())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def file_sha256(path: Path) -> str:
    """The sha256 of a file, as sha256sum prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically; see `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: str | Path, value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since JSON has neither."""
    write_text(path, as_json(value))


def as_json(value: Any) -> str:
    """A value as `write_json` writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def refuse_foreign(folder: Path, names: Iterable[str], *, marks: Iterable[str]) -> None:
    """Refuse a folder with files that would be replaced and that no earlier call of the same command wrote.

    Args:
        folder: The folder.
        names: Files and folders that the command writes.
        marks: Files and folders; each call of the command creates one when it starts.

    Raises:
        ConfigError: There are such files.
    """
    if any((folder / mark).exists() for mark in marks):
        return
    if found := [name for name in names if (folder / name).exists()]:
        raise ConfigError(
            f"{folder} holds {', '.join(found)}, which this command did not write and would replace: move that away, "
            "or name another --output_dir"
        )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
