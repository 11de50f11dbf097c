"""The numbers of the rows scored so far, appended a chunk at a time: an audit that is cut off goes on after the last.

A chunk is scored in batches of its own, so that a row's numbers, which padding touches in their last bits, do not
depend on where an audit was cut off.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


CHUNK_ROWS = 64


class ScoreStore:
    """Lines of JSON, one for each row, in the order of the rows.

    Args:
        path: The file; made with the first chunk.
        total: Rows in all.
    """

    def __init__(self, path: Path, total: int) -> None:
        self.path, self._total = path, total

    def keep_whole_chunks(self) -> int:
        """Cut off what was written after the last whole chunk, and tell how many rows are left."""
        if not self.path.exists():
            return 0
        rows = kept_rows = offset = kept_offset = 0
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                rows, offset = rows + 1, offset + len(line)
                if rows % CHUNK_ROWS == 0 or rows == self._total:
                    kept_rows, kept_offset = rows, offset
        os.truncate(self.path, kept_offset)
        return kept_rows

    def append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append a chunk in one write.

        Raises:
            OSError: The disk is full.
        """
        content = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()
        with self.path.open("ab", buffering=0) as file:
            written = file.write(content)
        if written != len(content):
            raise OSError(
                f"{self.path} could not be written ({written} of {len(content)} bytes): make room, then repeat"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)
