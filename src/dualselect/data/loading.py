"""`load_rows`: whatever the user has, as one data set of conversations."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from dualselect.data.conversations import FEATURES, conversation, format_of
from dualselect.data.files import Source, read_source
from dualselect.data.ids import row_id, unique_ids
from dualselect.errors import DataError


@dataclass(frozen=True)
class RowReport:
    """What was read.

    Attributes:
        rows: Rows in all.
        taken: For each source, how many rows and which columns the conversation was taken from.
        left_out: Files of folders that are no data files.
        duplicates: Rows with the prompt and response of an earlier one; they are kept.
        repeated_ids: Rows whose id occurred before; they got `#2`, `#3`, ... behind it.
    """

    rows: int
    taken: list[str]
    left_out: list[str]
    duplicates: int
    repeated_ids: int

    def describe(self) -> str:
        """A few lines for a terminal."""
        lines = list(self.taken)
        if self.left_out:
            lines.append(f"  left out, not a data file: {', '.join(self.left_out)}")
        if self.duplicates:
            lines.append(f"  {self.duplicates:,} rows repeat an earlier one word for word (kept)")
        if self.repeated_ids:
            lines.append(f"  {self.repeated_ids:,} ids occurred before and got #2, #3, ... behind them")
        return "\n".join(lines)


@dataclass(frozen=True)
class LoadedRows:
    """Conversations (`id`, `prompt`, `completion`, `kind`, `category`, `rejected`) and the report on reading them."""

    dataset: Dataset
    report: RowReport


def load_rows(sources: str | Path | Sequence[str | Path]) -> LoadedRows:
    """Read conversations from files, folders and hub names.

    Args:
        sources: One or more of: a JSONL, JSON, CSV (each may be .gz) or Parquet file, a folder of these, a hub name
            with an optional `:split`. Behind it `#rejected` takes the rejected response of preference rows, and
            `[0:200]` a stretch of the rows. Formats may differ from source to source.

    Returns:
        The rows in order. Plain `prompt` and `completion` texts become a user's and an assistant's turn.

    Raises:
        DataError: Something cannot be read or is no conversation; the message names the file and line.
    """
    names = [sources] if isinstance(sources, str | Path) else list(sources)
    if not names:
        raise DataError("no data was named; give at least one file, folder or hub name")
    rows, taken, left_out = [], [], []
    for name in names:
        source = Source.parse(str(name))
        raw, ignored = read_source(source)
        rows += [conversation(row, where=where, response_column=source.response_column) for where, row in raw]
        formats = Counter(format_of(row) for _, row in raw)
        taken.append(f"{name}: {len(raw):,} rows; columns taken: {'; '.join(formats)}")
        left_out += ignored
    contents = [row_id(row["prompt"], row["completion"]) for row in rows]
    ids, _ = unique_ids(row["id"] for row in rows)
    # a row without an id is named by its content, so a duplicate's name repeats too; that is told as a duplicate only
    given = [row["id"] for row, content in zip(rows, contents, strict=True) if row["id"] != content]
    for row, identity in zip(rows, ids, strict=True):
        row["id"] = identity
    report = RowReport(
        len(rows), taken, left_out, len(rows) - len(set(contents)), repeated_ids=len(given) - len(set(given))
    )
    return LoadedRows(Dataset.from_list(rows, features=FEATURES), report)
