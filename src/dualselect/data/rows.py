"""Sources in, conversations out, with a report of what was used and what was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from dualselect.data.columns import check_found, column_mapping, renamed, unapplied
from dualselect.data.conversations import conversation_dataset, conversation_row, turn_keys
from dualselect.data.files import MAX_ROW_BYTES
from dualselect.data.formats import (
    RowFormat,
    conversation_of,
    format_of,
    known_format,
    sentence_of,
    with_rejected_as_response,
)
from dualselect.data.ids import row_id
from dualselect.data.row_report import RowReport
from dualselect.data.sources import Source
from dualselect.errors import DataError


@dataclass(frozen=True)
class LoadedRows:
    """Conversations and the report of how they were loaded.

    Attributes:
        dataset: `id`, `prompt` (turns before the response), `completion` (one assistant turn), `kind`, `category` and
            `rejected` (empty where a row has none); `tools` and `chat_template_kwargs` where a row has them. A turn
            has `role`, `content` and any other keys that it has in the data.
        report: What was used and what was not.
    """

    dataset: Dataset
    report: RowReport


def load_rows(
    sources: str | Path | Sequence[str | Path],
    *,
    split: str | None = None,
    columns: str | Mapping[str, str] | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
) -> LoadedRows:
    """Load conversations from files, folders and hub names.

    A source is a file (.jsonl, .json or .csv, optionally with .gz; .parquet or .arrow), a folder of such files, a
    `save_to_disk` folder, or a hub name. Of several splits, the train split is read; `FOLDER:test` or
    `owner/name:test` selects another. A suffix `#rejected` uses the rejected response of each pair as the response,
    `[start:stop]` slices the rows as in Python; both: `pairs.jsonl#rejected[:50]`. A mapping of column names comes
    last: `mails.csv?prompt=body,completion=reply`.
    A row is a conversation (`messages`, `conversations`, `conversation`); a prompt and a response (`prompt` and
    `completion`, `instruction` and `output`, `question` and `answer`, `query` and `response` and other such pairs)
    with `context`, `input`, `choices`, `history` and `system` if present; or `chosen` (and `rejected`,
    `prompt`), a transcript of HH-RLHF, a message list or text. The last assistant turn is the response. `tools` and
    all keys of turns are kept for the chat template. `id`, `kind` and `category` are kept; a row without
    an id gets a hash of its content. Unused columns are listed in the report with their counts.

    Args:
        sources: One or more; their formats may differ.
        split: The split of folders and hub names that do not name one themselves; default "train".
        columns: Column mapping, as {"prompt": "body", "completion": "reply"} or "prompt=body,completion=reply".
        max_row_bytes: Largest row, in bytes; a larger one is an error, raised before it can fill the memory.

    Raises:
        DataError: A source or row cannot be read or parsed, or no row is left. The message names the file and line.
    """
    texts = [str(source) for source in ([sources] if isinstance(sources, str | Path) else sources)]
    if not texts:
        raise DataError("no row source was given: name a file, a folder or a hub data set")
    mapping = column_mapping(columns)
    parsed = [replace(source, columns=source.columns or mapping) for source in map(Source.of, texts)]
    if split is not None and not any(source.has_splits for source in parsed):
        raise DataError(
            f"split {split!r} is for folders and hub names, but {', '.join(texts)} is a file: leave it out, or append "
            "[start:stop] to a path to take some of its rows"
        )
    loading = _Loading()
    for source in parsed:
        raw, beside = source.read(split, max_row_bytes)
        loading.beside += beside
        loading.add(source, raw)
    check_found(mapping, loading.found_columns, ", ".join(texts))
    if not loading.rows:
        reasons = ", ".join(f"{count} with an {reason}" for reason, count in loading.dropped.items())
        raise DataError(f"{', '.join(texts)}: no row is left ({reasons}): give rows with a prompt and a response")
    dataset, repeated = conversation_dataset(loading.rows)
    return LoadedRows(dataset, loading.report(texts, repeated))


@dataclass
class _Loading:
    """The rows loaded so far, and the counts for the report."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    found_columns: set[str] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unapplied: list[str] = field(default_factory=list)
    cut_turns: int = 0

    def add(self, source: Source, placed: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Read the rows of one source."""
        formats, contrasted, names = Counter[str](), False, set[str]()
        for place, given in placed:
            names |= given.keys()
            row: Mapping[str, Any] = renamed(given, source.columns)
            if known_format(row.keys()) is None:
                check_found(source.columns, given, place)  # a misspelled name is likelier than an unknown format
            if source.response_column == "rejected":
                row = with_rejected_as_response(row, place)
            known, conversation = format_of(row, place), conversation_of(row, place)
            formats[_sentence(known, source)] += 1
            contrasted |= bool(conversation.rejected)
            self.left_out.update(conversation.left_out)
            self.cut_turns += conversation.cut_turns
            if conversation.lacks:
                self.dropped[conversation.lacks] += 1
            else:
                self.rows.append(conversation_row(row, conversation, place))
        self.found_columns |= names
        self.unapplied += unapplied(source.columns, names)
        self.taken.append(f"{source.text}: {sentence_of(formats)}{', rejected from rejected' * contrasted}")

    def report(self, sources: Sequence[str], repeated_ids: int) -> RowReport:
        """The report on all rows added."""
        distinct = len({row_id(row["prompt"], row["completion"]) for row in self.rows})
        return RowReport(
            sources=tuple(sources),
            columns_taken="\n".join(self.taken),
            rows=len(self.rows),
            dropped=dict(self.dropped),
            duplicates=len(self.rows) - distinct,
            repeated_ids=repeated_ids,
            ignored_files=tuple(self.beside),
            unused_columns=dict(self.left_out),
            turn_keys=dict(turn_keys(self.rows)),
            cut_turns=self.cut_turns,
            unapplied_columns=tuple(self.unapplied),
            with_tools=sum("tools" in row for row in self.rows),
        )


def _sentence(known: RowFormat, source: Source) -> str:
    if source.response_column == "rejected":
        return known.sentence.replace(known.columns[-1], "rejected")
    return known.sentence
