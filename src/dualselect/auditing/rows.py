"""The task rows of an audit as a stream that can be read repeatedly, with one row in memory at a time."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset

from dualselect.data.columns import check_found, renamed
from dualselect.data.conversations import conversation_row, plain_rows
from dualselect.data.files import MAX_ROW_BYTES, PlacedRow, count_rows, ending_of, read_file
from dualselect.data.formats import conversation_of, known_format, with_rejected_as_response
from dualselect.data.source_rows import absolute_source, is_builtin, local_files, read_sources
from dualselect.data.sources import Source
from dualselect.errors import DataError


@dataclass(frozen=True)
class TaskRow:
    """One row of the data.

    Attributes:
        number: Its position in the data, from 0.
        conversation: `id`, `prompt`, `completion`, `kind`, `category`, `rejected`, and other inputs of the chat
            template, as in training.
        lacks: Why nothing can be learned from the row; empty if the row is usable.
        raw: The unchanged row of the data.
        left_out: Columns of the row that are not used.
    """

    number: int
    conversation: dict[str, Any]
    lacks: str
    raw: dict[str, Any]
    left_out: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id in the data, otherwise a hash of the content. Ids may repeat; numbers are unique."""
        return str(self.conversation["id"])


class TaskRows:
    """All rows of some sources, in order. Each iteration reads them again.

    JSONL, Parquet and Arrow files are streamed; the other sources (CSV, JSON, hub names, built-in rows, slices that
    count from the end) are held in memory while they are read. All rows are read unchanged, except that `#rejected`
    replaces the response with the rejected response.

    Args:
        sources: Task data, in any form that `dualselect train` accepts.
        max_row_bytes: Largest row, in bytes.
    """

    def __init__(
        self,
        sources: Sequence[str],
        *,
        max_row_bytes: int = MAX_ROW_BYTES,
    ) -> None:
        if not sources:
            raise DataError("there is no task data to audit: name at least one file, folder, hub name or builtin")
        self.sources = [absolute_source(source) for source in sources]
        self._parts = [_part(source, max_row_bytes) for source in self.sources]

    @classmethod
    def of(cls, dataset: Dataset, name: str = "task") -> "TaskRows":
        """The rows of a data set in any known format. The data set is in memory, so `sources` is empty.

        Args:
            dataset: The rows.
            name: Name of the data set, for messages.
        """
        rows = cls.__new__(cls)
        rows.sources = []
        rows._parts = [
            _Part(
                lambda: ((f"{name} row {n}", row) for n, row in enumerate(plain_rows(dataset))), lambda: len(dataset)
            )
        ]
        return rows

    def __iter__(self) -> Iterator[TaskRow]:
        """The rows.

        Raises:
            DataError: A source cannot be read, or a row is not a conversation. The message names the location.
        """
        placed = ((part, *placed_row) for part in self._parts for placed_row in part.read())
        for number, (part, place, raw) in enumerate(placed):
            row = part.known(raw, place)
            conversation = conversation_of(row, place)
            found = conversation_row(row, conversation, place)
            yield TaskRow(number, found, conversation.lacks, raw, conversation.left_out)

    def expected(self) -> int | None:
        """Approximate number of rows, for a progress bar; None if it is unknown until all rows are read."""
        counts = [part.expected() for part in self._parts]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def files(self) -> list[Path]:
        """The local files that the rows come from."""
        return [file for source in self.sources for file in local_files(source)]

    def table_files(self) -> list[tuple[Path, slice]] | None:
        """The Parquet files with the slice used of each; None if some rows come from other sources."""
        found: list[tuple[Path, slice]] = []
        for text in self.sources:
            source, files = Source.of(text), [] if is_builtin(text) else local_files(text)
            if not files or source.response_column == "rejected" or any(ending_of(it) != ".parquet" for it in files):
                return None
            counts = [count_rows(file) or 0 for file in files]
            taken, before = range(sum(counts))[source.rows], 0
            for file, count in zip(files, counts, strict=True):
                start, stop = (min(max(bound - before, 0), count) for bound in (taken.start, taken.stop))
                found.append((file, slice(start, stop)))
                before += count
        return found or None

    def folders(self) -> list[Path]:
        """The folders among the sources, resolved."""
        places = [Path(Source.of(source).place) for source in self.sources if not is_builtin(source)]
        return [place.resolve() for place in places if place.is_dir()]


class _Part(NamedTuple):
    """One source: its rows, read again at each call, and their approximate number, if it is quick to compute."""

    read: Callable[[], Iterable[PlacedRow]]
    expected: Callable[[], int | None]
    columns: Mapping[str, str] = {}

    def known(self, raw: dict[str, Any], place: str) -> dict[str, Any]:
        """A row with its columns renamed to known names."""
        row = renamed(raw, self.columns)
        if known_format(row.keys()) is None:
            check_found(self.columns, raw, place)
        return row


def _part(text: str, max_row_bytes: int) -> _Part:
    if is_builtin(text):
        return _Part(lambda: _builtin(text), lambda: None)
    source, files = Source.of(text), local_files(text)
    start, stop = source.rows.start or 0, source.rows.stop
    streamed = bool(files) and start >= 0 and (stop is None or stop >= 0)

    def read() -> Iterator[PlacedRow]:
        for place, row in stream() if streamed else source.read(None, max_row_bytes)[0]:
            rejected = source.response_column == "rejected"
            yield place, dict(with_rejected_as_response(row, place)) if rejected else row

    def stream() -> Iterator[PlacedRow]:
        count = 0
        placed_rows = (placed for file in files for placed in read_file(file, max_row_bytes))
        for count, placed in enumerate(islice(placed_rows, stop), 1):
            if count > start:
                yield placed
        source.check_bounds(count)

    def expected() -> int | None:
        total = _rows_in(files, stop if streamed else None)
        return None if total is None else len(range(total)[source.rows])

    return _Part(read, expected, source.columns)


def _rows_in(files: Sequence[Path], most: int | None) -> int | None:
    """Approximate number of rows in files, counted up to `most`; None if it is unknown until they are read."""
    total = 0
    for file in files:
        found = count_rows(file, None if most is None else most - total)
        if found is None:
            return None
        total += found
        if most is not None and total >= most:
            break
    return total if files else None


def _builtin(text: str) -> Iterator[PlacedRow]:
    rows = read_sources([text], "task_data").dataset
    return ((f"{text} row {number}", row) for number, row in enumerate(rows))
