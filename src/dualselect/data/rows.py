"""Sources in, conversations out, with a report of what was taken and what was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from dualselect.data.conversations import conversation_dataset, conversation_row
from dualselect.data.formats import RowFormat, format_of, sentence_of, with_rejected_as_response
from dualselect.data.ids import row_id
from dualselect.data.sources import Source
from dualselect.errors import DataError


@dataclass(frozen=True)
class RowReport:
    """What became of the rows of some sources.

    Attributes:
        sources: The sources as given.
        columns_taken: For each source, which columns were taken for what.
        rows: Rows loaded.
        dropped: Rows dropped, by reason.
        duplicates: Rows whose prompt and response stand in an earlier row too; they are kept.
        repeated_ids: Rows renamed because an earlier row has their id.
        ignored_files: Files of a folder that hold no rows, such as a README.
    """

    sources: tuple[str, ...]
    columns_taken: str
    rows: int
    dropped: Mapping[str, int]
    duplicates: int
    repeated_ids: int
    ignored_files: tuple[str, ...] = ()

    def describe(self) -> str:
        """A few lines for the terminal."""
        lines = [f"{self.rows:,} rows from {', '.join(self.sources)}"]
        lines += [f"  {taken}" for taken in self.columns_taken.splitlines()]
        lines += [f"  dropped {count:,} rows with an {reason}" for reason, count in self.dropped.items()]
        if self.duplicates:
            lines.append(f"  duplicates: {self.duplicates:,} rows repeat an earlier prompt and response (kept)")
        if self.repeated_ids:
            lines.append(f"  repeated ids: {self.repeated_ids:,} rows were renamed with #2, #3, ...")
        if self.ignored_files:
            lines.append(f"  files without rows, ignored: {', '.join(self.ignored_files)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class LoadedRows:
    """Conversations and the report of how they were loaded.

    Attributes:
        dataset: `id`, `prompt` (turns before the response), `completion` (one assistant turn), `kind`, `category`
            and `rejected` (empty where a row has none).
        report: What was taken and what was not.
    """

    dataset: Dataset
    report: RowReport


def load_rows(sources: str | Path | Sequence[str | Path], *, split: str | None = None) -> LoadedRows:
    """Load conversations from files, folders and hub names.

    A source is a file (.jsonl, .json, .csv, each also with .gz, or .parquet), a folder of these, or a hub name
    `owner/name` or `owner/name:split`. Behind it may stand `#rejected`, which takes the rejected response of a pair
    as the response, and `[start:stop]`, which takes these rows as Python would; both: `pairs.jsonl#rejected[:50]`.
    A row is `messages`; `prompt` and `completion`; `instruction` (and `input`) and `output`; `question` and `answer`;
    or `chosen` (and `rejected`, `prompt`), a transcript of HH-RLHF, a message list or text. The last assistant turn is
    the response. Its own `id`, `kind` and `category` are kept; without an id, a hash of the content is the id.

    Args:
        sources: One or several; their formats may differ.
        split: The split of hub names without one of their own; "train" if not given.

    Raises:
        DataError: Something cannot be read or understood, or no row is left. The message names the file and line.
    """
    texts = [str(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    if not texts:
        raise DataError("no source of rows is given: name a file, a folder or a hub data set")
    parsed = [Source.of(text) for text in texts]
    if split is not None and not any(source.is_hub_name for source in parsed):
        raise DataError(
            f"split {split!r} is for hub names, and {', '.join(texts)} is local: leave it out, or write [start:stop] "
            "behind a path to take some of its rows"
        )
    rows: list[dict[str, Any]] = []
    taken, ignored, dropped = list[str](), list[str](), Counter[str]()
    for source in parsed:
        raw, left_aside = source.read(split)
        ignored += left_aside
        formats, contrasted = Counter[str](), False
        for place, row in raw:
            taken_row = with_rejected_as_response(row, place) if source.response_column == "rejected" else row
            known = format_of(taken_row, place)
            conversation = known.convert(taken_row, place)
            formats[_sentence(known, source)] += 1
            contrasted |= bool(conversation.rejected)
            if conversation.lacks:
                dropped[conversation.lacks] += 1
            else:
                rows.append(conversation_row(row, conversation, place))
        taken.append(f"{source.text}: {sentence_of(formats)}{', rejected from rejected' * contrasted}")
    if not rows:
        reasons = ", ".join(f"{count} with an {reason}" for reason, count in dropped.items())
        raise DataError(f"{', '.join(texts)}: no row is left ({reasons}): give rows that have both texts")
    distinct = len({row_id(row["prompt"], row["completion"]) for row in rows})
    dataset, renamed = conversation_dataset(rows)
    report = RowReport(
        sources=tuple(texts),
        columns_taken="\n".join(taken),
        rows=len(rows),
        dropped=dict(dropped),
        duplicates=len(rows) - distinct,
        repeated_ids=renamed,
        ignored_files=tuple(ignored),
    )
    return LoadedRows(dataset, report)


def _sentence(known: RowFormat, source: Source) -> str:
    if source.response_column == "rejected":
        return known.sentence.replace(known.columns[-1], "rejected")
    return known.sentence
