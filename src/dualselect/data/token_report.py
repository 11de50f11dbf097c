"""What became of rows when they were tokenized: kept, cut, dropped and why."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, Value

from dualselect.data.supervision import Scope, supervised_turns
from dualselect.data.turns import is_empty
from dualselect.errors import DataError


COUNTS = {
    "all_tokens": Value("int64"),
    "first_supervised": Value("int64"),
    "supervised": Value("int64"),
    "supervised_turns": Value("int64"),
    "unused": Value("string"),
    "cut": Value("string"),
    "reason": Value("string"),
}
"""Columns of each row from which the report is made: tokens before truncation, place of the first supervised token,
supervised tokens and turns after it, unused keys as JSON, the cut end of the generation prompt, why it has no text."""

EMPTY = "an empty response"
SWITCHED_OFF = "every response switched off by train: false or weight: 0"
NOT_RENDERED = "a response that the chat template leaves out"
CUT_AWAY = "no response token within max_length"
ONE_TOKEN = "one token, which nothing predicts"


@dataclass(frozen=True)
class TokenReport:
    """What became of the rows of a data set when they were tokenized.

    Attributes:
        name: What the data set is called.
        rows_in: Rows given.
        rows_kept: Rows with at least one supervised token.
        dropped: Ids of the dropped rows, by reason.
        truncated_rows: Kept rows that were cut to the longest length.
        truncated_tokens: Tokens cut from them.
        supervised_tokens: Tokens with a label in the kept rows.
        supervised_turns: Turns that they belong to.
        total_tokens: Tokens in the kept rows.
        unused: Keys of turns and columns of rows that the text does not depend on, with their number.
        cut: Rows whose text lacks an end of the generation prompt, by that end.
    """

    name: str
    rows_in: int
    rows_kept: int
    dropped: Mapping[str, tuple[str, ...]]
    truncated_rows: int
    truncated_tokens: int
    supervised_tokens: int
    supervised_turns: int
    total_tokens: int
    unused: Mapping[str, int] = field(default_factory=dict)
    cut: Mapping[str, int] = field(default_factory=dict)

    @property
    def empty_responses(self) -> tuple[str, ...]:
        """Ids of the rows dropped because their response is blank."""
        return self.dropped.get(EMPTY, ())

    @property
    def without_supervision(self) -> tuple[str, ...]:
        """Ids of the rows dropped because `max_length` cut the whole response."""
        return self.dropped.get(CUT_AWAY, ())

    def describe(self) -> str:
        """A few lines for the terminal."""
        turns = f" in {self.supervised_turns:,} assistant turns" if self.supervised_turns > self.rows_kept else ""
        lines = [
            f"{self.name}: {self.rows_kept:,} of {self.rows_in:,} rows, {self.total_tokens:,} tokens, "
            f"{self.supervised_tokens:,} of them supervised{turns}"
        ]
        for reason, ids in self.dropped.items():
            more = ", ..." if len(ids) > 5 else ""
            lines.append(f"  dropped {len(ids):,} rows with {reason} (ids: {', '.join(ids[:5])}{more})")
        if self.truncated_rows:
            lines.append(f"  truncated: {self.truncated_rows:,} rows, {self.truncated_tokens:,} tokens cut")
        if self.unused:
            counts = ", ".join(f"{key} ({count:,})" for key, count in sorted(self.unused.items()))
            lines.append(f"  not used by the text of the rows: {counts}")
        for end, count in self.cut.items():
            lines.append(
                f"  {count:,} rows: the chat template ends its generation prompt in {end!r}, which these rows do not "
                "have; they are supervised from the point where the two part. For another template: "
                "--chat_template_path FILE.jinja"
            )
        return "\n".join(lines)


def reason_without_text(row: Mapping[str, Any], scope: Scope) -> str:
    """Why a row has nothing to supervise, empty if it has something."""
    completion = row["completion"]
    if isinstance(completion, str):
        return "" if completion.strip() else EMPTY
    prompt = row["prompt"]
    turns = [*([{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt), *completion]
    if supervised_turns(turns, scope):
        return ""
    candidates = completion[-1:] if scope == "last" else turns
    return EMPTY if all(is_empty(turn) for turn in candidates if turn["role"] == "assistant") else SWITCHED_OFF


def kept_rows(tokens: Dataset, max_length: int | None, name: str) -> tuple[list[int], TokenReport]:
    """Positions of the rows with a supervised token, and the report.

    Args:
        tokens: One row per row given, with the columns `COUNTS`, `id` and `input_ids`.
        max_length: Longest row in tokens; None for no limit.
        name: What messages call the rows.

    Raises:
        DataError: No row is left; the message says why.
    """
    columns = {column: list(tokens[column]) for column in ("id", *COUNTS)}
    kept: list[int] = []
    dropped: dict[str, list[str]] = {}
    unused, cut = Counter[str](), Counter[str]()
    total = cut_rows = cut_tokens = 0
    for position, (length, supervised, end) in enumerate(
        zip(columns["all_tokens"], columns["supervised"], columns["cut"], strict=True)
    ):
        left = length if max_length is None else min(length, max_length)
        if columns["unused"][position]:
            unused.update(json.loads(columns["unused"][position]))
        if not supervised:
            reason = _reason(columns["reason"][position], length, left, columns["first_supervised"][position])
            dropped.setdefault(reason, []).append(columns["id"][position])
            continue
        kept.append(position)
        total += left
        cut_rows, cut_tokens = cut_rows + (length > left), cut_tokens + length - left
        if end:
            cut[end] += 1
    if not kept:
        raise DataError(_nothing_left(name, dropped, max_length, columns["first_supervised"]))
    report = TokenReport(
        name=name,
        rows_in=len(tokens),
        rows_kept=len(kept),
        dropped={reason: tuple(ids) for reason, ids in dropped.items()},
        truncated_rows=cut_rows,
        truncated_tokens=cut_tokens,
        supervised_tokens=sum(columns["supervised"]),
        supervised_turns=sum(columns["supervised_turns"]),
        total_tokens=total,
        unused=dict(unused),
        cut=dict(cut),
    )
    return kept, report


def _reason(without_text: str, length: int, left: int, first: int) -> str:
    if without_text:
        return without_text
    if length <= 1:
        return ONE_TOKEN
    return CUT_AWAY if first >= left < length else NOT_RENDERED


def _nothing_left(name: str, dropped: Mapping[str, list[str]], max_length: int | None, firsts: list[int]) -> str:
    rows = sum(map(len, dropped.values()))
    if set(dropped) == {EMPTY}:
        return f"{name}: all {rows:,} rows have an empty response: check which column holds the response"
    if CUT_AWAY not in dropped:
        reasons = "; ".join(f"{len(ids):,} with {reason}" for reason, ids in dropped.items())
        return f"{name}: nothing can be learned from any of {rows:,} rows ({reasons}): check the rows and their flags"
    needed = min(first for first in firsts if max_length is None or first >= max_length)
    return (
        f"{name}: none of {rows:,} rows has a supervised token within max_length {max_length}: the shortest row needs "
        f"{needed} tokens before its first response token. Raise max_length to at least {needed + 1}, "
        "better to the length of whole rows"
    )
