"""Append-only store of the scored rows; an interrupted audit resumes after the last complete chunk.

Padding affects the last bits of a row's statistics, so batches never cross chunks. Results therefore do not depend on
where an audit was interrupted.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


CHUNK_ROWS = 64


class ScoreStore:
    """JSON lines, one per row, in row order.

    Args:
        path: The file, created with the first chunk.
        total: Number of rows to score.
    """

    def __init__(self, path: Path, total: int) -> None:
        self.path, self._total = path, total

    def keep_whole_chunks(self) -> int:
        """Truncate the file after the last complete chunk.

        Returns:
            Number of rows that remain in it.
        """
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
                f"{self.path} could not be written ({written} of {len(content)} bytes): free disk space, then repeat"
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The lines."""
        with self.path.open(encoding="utf-8", newline="\n") as file:
            yield from map(json.loads, file)
