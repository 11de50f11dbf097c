"""The tables of a page as plain values, rendered by `page.js`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dualselect.report.folders import Evaluation, RunFiles
from dualselect.report.history import WARMUP, TaskRow, references, task_rows
from dualselect.report.texts import RowTexts, as_text


ROW_LIMIT = 20_000
"""Most rows of a table; more would make the page slow to open."""
TEXT_LIMIT = 8_000
"""Most characters of a text."""
CHOICES = 40
"""Most distinct values of a column that can be filtered."""
HARMLESS_KINDS = {"task", "lookalike", "chat"}
"""Kinds of built-in rows whose texts are visible, unless the row was dropped or conflicts."""
OPEN_METRICS = {"over_refusal_rate", "exact_match", "exact_match_flexible"}
"""Metrics of suites with harmless prompts; the texts of all other suites are hidden until clicked."""
NAMES: dict[str, dict[float, str]] = {"refusal": {1: "refused", 0: "not refused"}, "unsafe": {1: "unsafe", 0: "safe"}}
"""Labels of a judge's values, by measure."""
YES_OR_NO: dict[float, str] = {1: "yes", 0: "no"}
MARKS = {True: "●", False: "○", None: "·"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its heading.
        kind: `label`, `number`, or `text` (the cell is an index into the row's texts).
        rank: On a narrow screen, columns of high rank are hidden first.
        width: Minimum width in pixels.
        filters: Whether rows can be filtered by its value.
    """

    title: str
    kind: str = "label"
    rank: int = 1
    width: int = 110
    filters: bool = False


@dataclass
class Table:
    """A table of a page.

    Attributes:
        name: Id of its element on the page.
        columns: The columns; the first is a label that opens the row.
        texts: Headings of a row's texts.
        history: Headings of a row's history.
        rows: Rows with `cells`, `texts`, `secret` (texts are hidden until clicked) and `history`.
        left_out: Number of rows beyond `ROW_LIMIT`.
    """

    name: str
    columns: list[Column]
    texts: list[str]
    history: list[str] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: int = 0

    def limited(self, entries: list[Any]) -> list[Any]:
        """The first `ROW_LIMIT` entries; sets `left_out` to the number of the others."""
        self.left_out = max(0, len(entries) - ROW_LIMIT)
        return entries[:ROW_LIMIT]

    def as_values(self) -> dict[str, Any]:
        """As JSON values, without empty columns; columns with few distinct values get filter choices."""
        columns = []
        for index, column in enumerate(self.columns):
            values = {_value(row, column, index) for row in self.rows} - {None, ""}
            if index and not values:
                continue
            filterable = column.filters and 1 < len(values) <= CHOICES
            choices = sorted(values, key=lambda value: (isinstance(value, str), value)) if filterable else []
            columns.append({**vars(column), "index": index, "choices": choices})
        return {"columns": columns, "texts": self.texts, "history": self.history, "rows": self.rows}


def task_table(runs: Sequence[RunFiles], texts: dict[str, RowTexts]) -> Table:
    """All task rows of the runs, with their occurrences."""
    table = Table(
        "task-rows",
        [
            Column("Row", width=130),
            Column("Run", rank=2, filters=True),
            Column("Kind", rank=2, width=90, filters=True),
            Column("Category", rank=3, filters=True),
            Column("Prompt", "text", rank=6, width=180),
            Column("Kept or dropped", rank=2, width=120),
            Column("Selection", rank=1, width=155, filters=True),
            Column("Times dropped", "number", rank=4, width=105),
            Column("Conflict score", "number", width=95),
            Column("Cosine", "number", rank=8, width=95),
            Column("Score", "number", rank=4, width=95),
            Column("Loss", "number", rank=4, width=95),
            Column("Last reason", rank=7, width=180),
        ],
        ["Prompt", "Response"],
        ["Step", "", "Loss", "Conflict score", "Cosine", "Score", "Reason"],
    )
    rows = [(run, row) for run in runs for row in task_rows(run.selection)]
    for run, row in table.limited(sorted(rows, key=lambda it: _conflict(it[1]))):
        last = row.last
        table.rows.append(
            {
                "cells": [
                    row.id, run.name if len(runs) > 1 else "", row.kind, row.category, 0, _marks(row),
                    row.selection_status, row.dropped,
                    *map(_short, (last.conflict, last.cosine, last.score, last.loss)),
                    last.reason,
                ],
                "texts": _texts_of(texts, run, "task_data", row.id),
                "secret": row.dropped > 0 or row.kind not in HARMLESS_KINDS,
                "history": [
                    [
                        it.step,
                        {True: "kept", False: "dropped", None: WARMUP}[it.kept],
                        *map(_short, (it.loss, it.conflict, it.cosine, it.score)),
                        it.reason if it.kept is not None else "",
                    ]
                    for it in row.occurrences
                ],
            }
        )  # fmt: skip
    return table


def reference_table(runs: Sequence[RunFiles], texts: dict[str, RowTexts]) -> Table:
    """All references of the runs, with their scores at every refresh."""
    table = Table(
        "references",
        [
            Column("Reference", width=130),
            Column("Run", rank=2, filters=True),
            Column("Category", rank=2, filters=True),
            Column("Prompt", "text", rank=5, width=160),
            Column("Response", "text", rank=6, width=160),
            Column("Selected or not", rank=1, width=130),
            Column("Times selected", "number", width=110),
            Column("Preservation loss", "number", rank=3, width=140),
            Column("Cosine", "number", rank=3, width=95),
            Column("Score", "number", rank=3, width=95),
        ],
        ["Prompt", "Response"],
        ["Step", "", "Preservation loss", "Cosine", "Score"],
    )
    entries = [(run, reference) for run in runs for reference in references(run.selection)]
    entries.sort(key=lambda it: -it[1].times_selected)
    for run, reference in table.limited(entries):
        _, _, *numbers = reference.scores[-1]
        table.rows.append(
            {
                "cells": [
                    reference.id, run.name if len(runs) > 1 else "", reference.category, 0, 1,
                    "".join(MARKS[selected] for _, selected, *_ in reference.scores),
                    reference.times_selected, *map(_short, numbers),
                ],
                "texts": _texts_of(texts, run, "reference_data", reference.id),
                "secret": True,
                "history": [
                    [step, "selected" if selected else "not selected", *map(_short, numbers)]
                    for step, selected, *numbers in reference.scores
                ],
            }
        )  # fmt: skip
    return table


def response_table(evaluations: Sequence[Evaluation]) -> Table:
    """All responses with the verdicts of all judges."""
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
        ["Prompt", "Response", "Expected answer", *(f"Verdict of {judge}" for judge in judges)],
    )
    open_of = {it.name: open_suites(it) for it in evaluations}
    order = {key: index for index, key in enumerate(dict.fromkeys(_prompt_key(it) for _, it in responses))}
    # group the responses of several models to one prompt
    for evaluation, response in table.limited(sorted(responses, key=lambda it: order[_prompt_key(it[1])])):
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
                    *(_verdict_text(verdicts.get(judge)) for judge in judges),
                ],
                "secret": response["suite"] not in open_of[evaluation.name],
                "history": [],
            }
        )  # fmt: skip
    return table


def open_suites(evaluation: Evaluation) -> set[str]:
    """The suites whose texts are visible."""
    return {entry["suite"] for entry in evaluation.content["summary"] if entry["metric"] in OPEN_METRICS}


def _value(row: dict[str, Any], column: Column, index: int) -> Any:
    """The value that a cell shows."""
    value = row["cells"][index]
    return next(iter(row["texts"][value : value + 1]), None) if column.kind == "text" else value


def _conflict(row: TaskRow) -> tuple[bool, float]:
    """Sort key: rows in conflict first, rows that were never compared last."""
    last = row.last
    return last.cosine is None, (last.cosine or 0.0) if last.conflict is None else -last.conflict


def _prompt_key(response: dict[str, Any]) -> tuple[str, str]:
    return response["suite"], response["id"]


def _texts_of(texts: dict[str, RowTexts], run: RunFiles, role: str, name: str) -> list[str]:
    return [cut(text) for text in texts[run.name].texts.get(role, {}).get(name, ())]


def cut(text: str) -> str:
    """Truncate a text to `TEXT_LIMIT` and say how much was cut."""
    if len(text) <= TEXT_LIMIT:
        return text
    return f"{text[:TEXT_LIMIT]}\n[{len(text) - TEXT_LIMIT:,} more characters are not on this page]"


def _marks(row: TaskRow) -> str:
    return "".join(MARKS[it.kept] for it in row.occurrences)


def _short(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.4g}")


def _named(measure: str, verdict: dict[str, Any] | None) -> str | float | None:
    if verdict is None:
        return None
    value = verdict["value"]
    if value is None:
        return "unscored"
    return NAMES[measure].get(value, str(value)) if measure in NAMES else _short(value)


def _verdict_text(verdict: dict[str, Any] | None) -> str:
    return "" if verdict is None else cut("\n".join(filter(None, (verdict["reason"], verdict["raw"]))))


def _yes_or_no(value: float | None) -> str | None:
    return None if value is None else YES_OR_NO.get(value, f"{value:.3g}")
