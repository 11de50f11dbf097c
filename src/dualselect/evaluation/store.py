"""What an evaluation has found so far, appended to a file as it comes: nothing is generated or judged twice.

A line is `{"key": ..., "value": ...}`. A key is a hash of everything that decides the value, so a store can be shared
by evaluations with other suites, judges or settings. A last line that was cut off is dropped.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dualselect.errors import DataError
from dualselect.system.files import write_text
from dualselect.system.lock import file_lock


def key_of(*parts: Any) -> str:
    """A hash of plain values, the same on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Values by key, in memory and in a file; made with `opened`.

    Args:
        path: The file; made with the first value.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._values = _read(path)

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator["Store"]:
        """A store that no other process writes to while it is open.

        Raises:
            ResumeError: Another process has it open.
            DataError: The file is not a store.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        refusal = f"{path} is being written by another process: wait until it has ended, or write elsewhere"
        with file_lock(path.with_name(f".{path.name}.lock"), refusal):
            yield cls(path)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def add(self, values: Mapping[str, Any]) -> None:
        """Append values in one write; keys that have one already keep it."""
        new = {key: value for key, value in values.items() if key not in self._values}
        if not new:
            return
        lines = "".join(_line(key, value) for key, value in new.items()).encode()
        with self.path.open("ab", buffering=0) as file:
            written = file.write(lines)
        if written != len(lines):
            raise OSError(
                f"{self.path} could not be written ({written} of {len(lines)} bytes): make room, then repeat"
            )
        self._values |= new


def _line(key: str, value: Any) -> str:
    return json.dumps({"key": key, "value": value}, ensure_ascii=False, allow_nan=False) + "\n"


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = path.read_bytes()
    whole, _, torn = content.rpartition(b"\n")
    values: dict[str, Any] = {}
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            entry = json.loads(line)
            values.setdefault(entry["key"], entry["value"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number} is not a line of a store of results ({error}): remove the file to start anew, "
                "or write elsewhere"
            ) from error
    if torn:
        write_text(path, whole.decode() + "\n" if whole else "")
    return values
