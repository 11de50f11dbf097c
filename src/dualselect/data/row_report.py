"""The report on loaded rows that users see."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from dualselect.data.conversations import counted


@dataclass(frozen=True)
class RowReport:
    """What was loaded, dropped and left out, over all sources.

    Attributes:
        sources: The sources as given.
        columns_taken: For each source, which columns supply the prompt and the response.
        rows: Rows loaded.
        dropped: Rows dropped, by reason.
        duplicates: Rows that repeat the prompt and response of an earlier row; they are kept.
        repeated_ids: Rows renamed because an earlier row has their id.
        ignored_files: Files of a folder that are not read, such as a README or another split.
        unused_columns: Columns that are not used, with the number of rows that have a value in them.
        turn_keys: Turn keys other than role and content, with the number of turns; all are kept for the chat template.
        cut_turns: Turns after the last response, which are left out.
        with_tools: Rows with tools for the chat template.
        unapplied_columns: Entries of the `columns` mapping that name a column no row has.
    """

    sources: tuple[str, ...]
    columns_taken: str
    rows: int
    dropped: Mapping[str, int]
    duplicates: int
    repeated_ids: int
    ignored_files: tuple[str, ...] = ()
    unused_columns: Mapping[str, int] = field(default_factory=dict)
    turn_keys: Mapping[str, int] = field(default_factory=dict)
    cut_turns: int = 0
    with_tools: int = 0
    unapplied_columns: tuple[str, ...] = ()

    def describe(self) -> str:
        """A few lines for the terminal."""
        lines = [f"{self.rows:,} rows from {', '.join(self.sources)}"]
        lines += [f"  {taken}" for taken in self.columns_taken.splitlines()]
        lines += [f"  dropped {count:,} rows with an {reason}" for reason, count in self.dropped.items()]
        if self.unused_columns:
            lines.append(f"  columns left out (rows): {counted(Counter(self.unused_columns))}")
        if self.unapplied_columns:
            lines.append(f"  columns mapping: no row has the column named in {', '.join(self.unapplied_columns)}")
        if self.turn_keys:
            lines.append(f"  turn keys kept for the chat template (turns): {counted(Counter(self.turn_keys))}")
        if self.with_tools:
            lines.append(f"  tools: {self.with_tools:,} rows have tools for the chat template")
        if self.cut_turns:
            lines.append(f"  left out: {self.cut_turns:,} turns after the last response of their conversation")
        if self.duplicates:
            lines.append(f"  duplicates: {self.duplicates:,} rows repeat an earlier prompt and response (kept)")
        if self.repeated_ids:
            lines.append(f"  repeated ids: {self.repeated_ids:,} rows were renamed with #2, #3, ...")
        if self.ignored_files:
            lines.append(f"  files not read: {', '.join(self.ignored_files)}")
        return "\n".join(lines)
