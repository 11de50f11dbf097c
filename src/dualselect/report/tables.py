"""The tables of a page as plain values; `page.js` shows them and knows nothing of what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dualselect.report.folders import Evaluation, RunFiles
from dualselect.report.history import WARMUP, TaskRow, references, task_rows
from dualselect.report.texts import RowTexts, as_text


ROW_LIMIT = 20_000
"""Rows of a table, at most; a browser would hold more, but not open them quickly."""
TEXT_LIMIT = 8_000
"""Characters of a text, at most."""
CHOICES = 40
"""A column that can be filtered by value has no more different ones than these."""
HARMLESS_KINDS = {"task", "lookalike", "chat"}
"""Kinds of built-in rows whose texts are shown at once, unless something was found against the row."""
OPEN_METRICS = {"over_refusal_rate", "exact_match", "exact_match_flexible"}
"""A suite that one of these measures has harmless prompts; the texts of all others open on click."""
NAMES: dict[str, dict[float, str]] = {"refusal": {1: "refused", 0: "not refused"}, "unsafe": {1: "unsafe", 0: "safe"}}
"""What the values of a judge's measure are called."""
YES_OR_NO: dict[float, str] = {1: "yes", 0: "no"}
MARKS = {True: "●", False: "○", None: "·"}


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        title: Its heading.
        kind: `label`, `number`, or `text` (the position of one of the row's texts).
        rank: Which columns stay on a narrow screen: low ranks do.
        width: Least width in pixels.
        filters: Whether rows can be filtered by its value.
    """

    title: str
    kind: str = "label"
    rank: int = 1
    width: int = 110
    filters: bool = False


@dataclass
class Table:
    """A table.

    Attributes:
        name: Of its place on the page.
        columns: The columns; the first is a label that opens the row.
        texts: Headings of the texts of a row.
        history: Headings of the lines of a row's history.
        rows: For each row `cells`, `texts`, `secret` (texts open on click) and `history`.
        left_out: Rows beyond `ROW_LIMIT`.
    """

    name: str
    columns: list[Column]
    texts: list[str]
    history: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0

    def first(self, found: list[Any]) -> list[Any]:
        """The first of what was found, as many as a table holds; the others are counted."""
        self.left_out = max(0, len(found) - ROW_LIMIT)
        return found[:ROW_LIMIT]

    def as_values(self) -> dict[str, Any]:
        """As JSON values; columns that say nothing are left out, and those of few different values can be chosen."""
        columns = []
        for place, column in enumerate(self.columns):
            values = {_value(row, column, place) for row in self.rows} - {None, ""}
            if place and not values:
                continue
            few = column.filters and 1 < len(values) <= CHOICES
            choices = sorted(values, key=lambda value: (isinstance(value, str), value)) if few else []
            columns.append({**vars(column), "place": place, "choices": choices})
        return {"columns": columns, "texts": self.texts, "history": self.history, "rows": self.rows}


def task_table(runs: Sequence[RunFiles], texts: dict[str, RowTexts]) -> Table:
    """Every task row that came up in the runs, with its history."""
    table = Table(
        "task-rows",
        [
            Column("Row", width=130),
            Column("Run", rank=2, filters=True),
            Column("Kind", rank=2, width=90, filters=True),
            Column("Category", rank=3, filters=True),
            Column("Prompt", "text", rank=6, width=180),
            Column("Kept or dropped", rank=2, width=120),
            Column("Fate", rank=1, width=155, filters=True),
            Column("Dropped", "number", rank=4, width=105),
            Column("Cosine", "number", width=95),
            Column("Score", "number", rank=4, width=95),
            Column("Loss", "number", rank=4, width=95),
            Column("Why, the last time", rank=7, width=180),
        ],
        ["Prompt", "Response"],
        ["Step", "", "Loss", "Cosine", "Score", "Why"],
    )
    found = [(run, row) for run in runs for row in task_rows(run.selection)]
    for run, row in table.first(sorted(found, key=lambda it: _conflict(it[1]))):
        last = row.last
        table.rows.append(
            {
                "cells": [
                    row.id, run.name if len(runs) > 1 else "", row.kind, row.category, 0, _marks(row), row.fate,
                    row.dropped, _short(last.cosine), _short(last.score), _short(last.loss), last.why,
                ],
                "texts": _texts_of(texts, run, "task_data", row.id),
                "secret": row.dropped > 0 or row.kind not in HARMLESS_KINDS,
                "history": [
                    [
                        offer.step,
                        {True: "kept", False: "dropped", None: WARMUP}[offer.kept],
                        *map(_short, (offer.loss, offer.cosine, offer.score)),
                        offer.why if offer.kept is not None else "",
                    ]
                    for offer in row.offers
                ],
            }
        )  # fmt: skip
    return table


def reference_table(runs: Sequence[RunFiles], texts: dict[str, RowTexts]) -> Table:
    """Every reference of the runs, with what each refresh found."""
    table = Table(
        "references",
        [
            Column("Reference", width=130),
            Column("Run", rank=2, filters=True),
            Column("Category", rank=2, filters=True),
            Column("Prompt", "text", rank=5, width=160),
            Column("Response", "text", rank=6, width=160),
            Column("Chosen or not", rank=1, width=130),
            Column("Times chosen", "number", width=110),
            Column("Preservation loss", "number", rank=3, width=140),
            Column("Cosine", "number", rank=3, width=95),
            Column("Score", "number", rank=3, width=95),
        ],
        ["Prompt", "Response"],
        ["Step", "", "Preservation loss", "Cosine", "Score"],
    )
    found = [(run, reference) for run in runs for reference in references(run.selection)]
    found.sort(key=lambda it: -it[1].times_chosen)
    for run, reference in table.first(found):
        _, _, *numbers = reference.found[-1]
        table.rows.append(
            {
                "cells": [
                    reference.id, run.name if len(runs) > 1 else "", reference.category, 0, 1,
                    "".join(MARKS[kept] for _, kept, *_ in reference.found),
                    reference.times_chosen, *map(_short, numbers),
                ],
                "texts": _texts_of(texts, run, "reference_data", reference.id),
                "secret": True,
                "history": [
                    [step, "chosen" if kept else "not chosen", *map(_short, numbers)]
                    for step, kept, *numbers in reference.found
                ],
            }
        )  # fmt: skip
    return table


def response_table(evaluations: Sequence[Evaluation]) -> Table:
    """Every response with the verdicts of all judges."""
    judges = {judge["name"]: judge["measure"] for it in evaluations for judge in it.content["judges"]}
    responses = [(it, response) for it in evaluations for response in it.content["responses"]]
    measures = list(dict.fromkeys(name for _, response in responses for name in response["measures"]))
    table = Table(
        "responses",
        [
            Column("Prompt id", width=130),
            Column("Model", rank=1, filters=True),
            Column("Suite", rank=2, width=100, filters=True),
            Column("Category", rank=2, filters=True),
            Column("Prompt", "text", rank=5, width=170),
            Column("Response", "text", rank=4, width=170),
            *(
                Column(judge, "label" if judges[judge] in NAMES else "number", width=125, filters=True)
                for judge in judges
            ),
            *(Column(measure.replace("_", " "), rank=6, width=105, filters=True) for measure in measures),
        ],
        ["Prompt", "Response", "Right answer", *(f"What {judge} said" for judge in judges)],
    )
    open_of = {it.name: open_suites(it) for it in evaluations}
    order = {key: place for place, key in enumerate(dict.fromkeys(_prompt_key(it) for _, it in responses))}
    # what several models answered to one prompt stands together
    for evaluation, response in table.first(sorted(responses, key=lambda it: order[_prompt_key(it[1])])):
        verdicts = response["verdicts"]
        table.rows.append(
            {
                "cells": [
                    response["id"], evaluation.name if len(evaluations) > 1 else "", response["suite"],
                    response["category"], 0, 1,
                    *(_named(judges[judge], verdicts.get(judge)) for judge in judges),
                    *(_yes_or_no(response["measures"].get(measure)) for measure in measures),
                ],
                "texts": [
                    cut(as_text(response["prompt"])), cut(response["response"]), response["answer"],
                    *(_said(verdicts.get(judge)) for judge in judges),
                ],
                "secret": response["suite"] not in open_of[evaluation.name],
                "history": [],
            }
        )  # fmt: skip
    return table


def open_suites(evaluation: Evaluation) -> set[str]:
    """The suites whose texts are shown at once."""
    return {entry["suite"] for entry in evaluation.content["summary"] if entry["metric"] in OPEN_METRICS}


def _value(row: dict[str, Any], column: Column, place: int) -> Any:
    """What a cell shows."""
    value = row["cells"][place]
    return next(iter(row["texts"][value : value + 1]), None) if column.kind == "text" else value


def _conflict(row: TaskRow) -> tuple[bool, float]:
    """Sorts the rows that pull against the references first, and those that were never compared last."""
    cosine = row.last.cosine
    return cosine is None, cosine or 0.0


def _prompt_key(response: dict[str, Any]) -> tuple[str, str]:
    return response["suite"], response["id"]


def _texts_of(texts: dict[str, RowTexts], run: RunFiles, role: str, name: str) -> list[str]:
    return [cut(text) for text in texts[run.name].texts.get(role, {}).get(name, ())]


def cut(text: str) -> str:
    """A text short enough for a page; how much is left out is said in it."""
    if len(text) <= TEXT_LIMIT:
        return text
    return f"{text[:TEXT_LIMIT]}\n[{len(text) - TEXT_LIMIT:,} more characters are not on this page]"


def _marks(row: TaskRow) -> str:
    return "".join(MARKS[offer.kept] for offer in row.offers)


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _named(measure: str, verdict: dict[str, Any] | None) -> str | float | None:
    if verdict is None:
        return None
    value = verdict["value"]
    if value is None:
        return "unscored"
    return NAMES[measure].get(value, str(value)) if measure in NAMES else _short(value)


def _said(verdict: dict[str, Any] | None) -> str:
    return "" if verdict is None else cut("\n".join(filter(None, (verdict["reason"], verdict["raw"]))))


def _yes_or_no(value: float | None) -> str | None:
    return None if value is None else YES_OR_NO.get(value, f"{value:.3g}")
