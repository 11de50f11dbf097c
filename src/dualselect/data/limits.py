"""Bounds on what a file of rows may hold, so that a hostile or damaged file ends in an error and not in swapping."""

import codecs
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dualselect.data.values import MAX_DEPTH, is_deep, text_size
from dualselect.errors import DataError


MAX_ROW_BYTES = 32 * 2**20
"""Largest row, in bytes, where no other limit is set."""

MAX_WHOLE_ROWS = 64
"""JSON and CSV files are read whole: they may hold this many rows of the largest size."""

GZIP_RATIO = 200
"""A gzip file that expands to more than this times its size is refused; text rarely reaches 30."""

_FREE_BYTES = 16 * 2**20
_PART = 2**20


class BoundedGzip(gzip.GzipFile):
    """A gzip file that is refused when it expands beyond `GZIP_RATIO`.

    Args:
        raw: The compressed file.
        path: Its name, for messages.
    """

    def __init__(self, raw: BinaryIO, path: Path) -> None:
        super().__init__(fileobj=raw)
        self._path, self._most = path, max(_FREE_BYTES, GZIP_RATIO * path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes; never all of the file at once."""
        return self._checked(super().read(size))

    def readline(self, size: int | None = -1) -> bytes:
        """A line of at most `size` bytes."""
        return self._checked(super().readline(size))

    def _checked(self, part: bytes) -> bytes:
        if self.tell() > self._most:
            raise DataError(
                f"{self._path}: the gzip stream expands to more than {GZIP_RATIO} times its size, as no text does: "
                "unpack it yourself if it is right, and name the unpacked file"
            )
        return part


def decoded_lines(file: BinaryIO, path: Path, max_row_bytes: int) -> Iterator[tuple[str, str]]:
    """The lines of a UTF-8 file with their places; a byte order mark is not content.

    Raises:
        DataError: A line is too long, or no UTF-8.
    """
    for number, line in enumerate(_lines(file, path, max_row_bytes), 1):
        place = f"{path}, line {number}"
        try:
            yield place, (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{place} is not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1}): save the file "
                "as UTF-8 text; if it holds no text, name it by what it is"
            ) from error


def whole_text(file: BinaryIO, path: Path, max_row_bytes: int) -> str:
    """The text of a file that has to be read whole.

    Raises:
        DataError: It is too large, or no UTF-8.
    """
    most, size, lines = MAX_WHOLE_ROWS * max_row_bytes, 0, []
    for _, line in decoded_lines(file, path, most):
        size += len(line)
        if size > most:
            raise DataError(
                f"{path}: has more than {most:,} bytes, and JSON and CSV files are read whole: write the rows as "
                "JSONL or Parquet, or raise max_row_bytes"
            )
        lines.append(line)
    return "".join(lines)


def _lines(file: BinaryIO, path: Path, most: int) -> Iterator[bytes]:
    """The lines of a file; one that is too long is never read to its end."""
    parts, size, number = list[bytes](), 0, 1
    while part := file.readline(min(_PART, most + 1)):
        parts.append(part)
        size += len(part)
        if size > most:
            raise too_large(f"{path}, line {number}", most)
        if part.endswith(b"\n"):
            yield b"".join(parts)
            parts, size, number = [], 0, number + 1
    if parts:
        yield b"".join(parts)


def check_row(row: Any, text: str, place: str, max_row_bytes: int) -> None:
    """Refuse a row that is too large or nested too deep.

    Args:
        row: The row.
        text: The text that it was read from, alone or with other rows: where that is small, the row is.
        place: Which row, for messages.
        max_row_bytes: Largest row, in bytes.

    Raises:
        DataError: It is.
    """
    if len(text) > max_row_bytes and text_size(row) > max_row_bytes:
        raise too_large(place, max_row_bytes)
    if is_deep(row):
        raise DataError(
            f"{place}: lists and objects are nested more than {MAX_DEPTH} levels deep: remove the column that is"
        )


def too_large(place: str, max_row_bytes: int) -> DataError:
    """The error of a row that is too large."""
    return DataError(
        f"{place} is larger than max_row_bytes ({max_row_bytes:,} bytes): split or remove the row, or set "
        f"max_row_bytes: {4 * max_row_bytes}"
    )
