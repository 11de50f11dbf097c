"""The page of an audit: verdict, figures, and the ranked rows."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dualselect.auditing.aggregates import BIN_WIDTH, LOWEST
from dualselect.auditing.output_files import REFERENCES, ROWS, read_lines
from dualselect.auditing.pool import NO_CATEGORY
from dualselect.auditing.rows import TaskRows
from dualselect.auditing.summary import SUMMARY, AuditSummary
from dualselect.auditing.text import CONTROL_NAME, budgets_text, recommended_text, without_detection, worst_first
from dualselect.data.sources import Source
from dualselect.errors import DualSelectError
from dualselect.report import figures
from dualselect.report.page import page_environment, table_scripts, write_page
from dualselect.report.tables import HARMLESS_KINDS, Column, Table, cut
from dualselect.report.texts import as_text


SHOWN_ROWS = 10_000
"""Most rows of the table, those of the highest ranks."""
CONFLICTS_SHOWN = 3


def is_audit(folder: Path) -> bool:
    """Whether a folder holds the rows of an audit."""
    return (folder / ROWS).is_file()


def write_audit_page(folder: Path, output: Path, *, quiet: bool = False) -> Path:
    """Write the page of a finished audit.

    Args:
        folder: The audit: `summary.json`, `audit.jsonl`, `references.jsonl`.
        output: The HTML file.
        quiet: No progress bar.

    Returns:
        `output`.

    Raises:
        DataError: The folder holds no finished audit.
    """
    summary = AuditSummary.read(folder / SUMMARY)
    lines = tqdm(
        read_lines(folder / ROWS),
        total=summary.data["drawn"],
        desc="Reading the audit",
        unit="row",
        leave=False,
        disable=quiet,
    )
    top_lines = sorted(_highest(lines), key=lambda line: line["rank"])
    texts, missing = _texts(summary, {line["row"]: line["id"] for line in top_lines}, quiet=quiet)
    references = list(read_lines(folder / REFERENCES))
    tables = [_row_table(summary, top_lines, texts), _reference_table(references)]
    kinds = {kind: entry for kind, entry in summary.kinds.items() if entry["scored"]}
    page = (
        page_environment()
        .get_template("audit.html.j2")
        .render(
            name=folder.resolve().name,
            summary=summary,
            control=CONTROL_NAME,
            recommended=recommended_text(summary.recommended_budget),
            budgets=budgets_text(summary.settings["audit"]["score"]),
            own_categories=worst_first(summary.categories),
            without_detection=without_detection(summary.detection) if summary.detection else "",
            missing=missing,
            tables={table.name: table for table in tables},
            conflicts=_conflicts(summary, kinds),
            categories=_categories(summary, kinds),
            kept=_kept(kinds),
            **table_scripts(tables),
        )
    )
    write_page(output, page)
    return output


def _highest(lines: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return (line for line in lines if not line["unscored"] and line["rank"] <= SHOWN_ROWS)


def _texts(summary: AuditSummary, wanted: dict[int, str], *, quiet: bool) -> tuple[dict[int, list[str]], str]:
    """Prompt and response by row number, read again from the data, and why there are none."""
    try:
        if not summary.data["sources"]:
            raise DualSelectError("the rows were passed in memory and cannot be read again")
        if hubs := [source for source in summary.data["sources"] if Source.of(source).is_hub_name]:
            raise DualSelectError(f"{', '.join(hubs)} is on a hub, and reports do not access the network")
        texts_by_row: dict[int, list[str]] = {}
        last = max(wanted, default=-1)
        for row in tqdm(
            islice(TaskRows(summary.data["sources"]), last + 1),
            total=last + 1,
            desc="Reading the texts",
            unit="row",
            leave=False,
            disable=quiet,
        ):
            if row.number in wanted:
                if row.id != wanted[row.number]:
                    raise DualSelectError(f"{', '.join(summary.data['sources'])} changed since the audit")
                texts = (row.conversation["prompt"], row.conversation["completion"])
                texts_by_row[row.number] = [cut(as_text(text)) for text in texts]
        return texts_by_row, ""
    except (DualSelectError, OSError) as error:
        return {}, str(error)


def _row_table(summary: AuditSummary, lines: list[dict[str, Any]], texts: dict[int, list[str]]) -> Table:
    table = Table(
        "task-rows",
        [
            Column("Row", width=130),
            Column("Rank", "number", rank=1, width=75),
            Column("Kind", rank=2, width=90, filters=True),
            Column("Category", rank=3, filters=True),
            Column("In conflict", rank=1, width=110, filters=True),
            Column("Strongest conflicts", rank=2, width=150),
            Column("Prompt", "text", rank=5, width=170),
            Column("Score", "number", rank=2, width=90),
            Column("Conflict score", "number", rank=1, width=110),
            Column("Cosine", "number", rank=5, width=90),
            Column("Probe", "number", rank=5, width=90),
            Column("Loss", "number", rank=4, width=85),
            Column("Smallest budget that keeps it", "number", rank=6, width=130, filters=True),
            Column("Labeled risky", rank=7, width=100, filters=True),
        ],
        ["Prompt", "Response"],
        ["Conflicts with", "", "Cosine"],
    )
    for line in lines:
        categories = [it["category"] for it in line["conflict_categories"]]
        table.rows.append(
            {
                "cells": [
                    line["id"], line["rank"], line["kind"], line["category"], _yes_no(line["conflict"]),
                    ", ".join(categories[:CONFLICTS_SHOWN]), 0,
                    *(_short(line[name]) for name in ("score", "conflict_score", "cosine", "probe", "loss")),
                    min((float(it) for it, kept in line["kept"].items() if kept), default=None),
                    _yes_no(line["risky"]) if "risky" in line else None,
                ],
                "texts": texts.get(line["row"], []),
                "secret": line["conflict"] or line["kind"] not in HARMLESS_KINDS,
                "history": [
                    *(["category", it["category"], _short(it["cosine"])] for it in line["conflict_categories"]),
                    *(["reference", it["id"], _short(it["cosine"])] for it in line["conflict_references"]),
                    *([] if line["conflict_references"] else [["reference", "none of the compared references", ""]]),
                ],
            }
        )  # fmt: skip
    table.left_out = summary.data["drawn"] - len(lines)
    return table


def _reference_table(references: list[dict[str, Any]]) -> Table:
    table = Table(
        "references",
        [
            Column("Reference", width=130),
            Column("Rank", "number", rank=1, width=75),
            Column("Category", rank=2, filters=True),
            Column("Selected", rank=1, width=110, filters=True),
            Column("Prompt", "text", rank=5, width=170),
            Column("Response", "text", rank=6, width=170),
            Column("Score", "number", rank=3, width=90),
            Column("Preservation loss", "number", rank=3, width=140),
            Column("Conflict: cosine to the task direction", "number", rank=3, width=140),
        ],
        ["Prompt", "Response"],
    )
    for it in table.limited(sorted(references, key=lambda it: it["rank"])):
        numbers = [_short(it[name]) for name in ("score", "preservation_loss", "cosine")]
        table.rows.append(
            {
                "cells": [it["id"], it["rank"], it["category"], _yes_no(it["selected"]), 0, 1, *numbers],
                "texts": [cut(as_text(it["prompt"])), cut(as_text(it["completion"]))],
                "secret": True,
                "history": [],
            }
        )
    return table


def _conflicts(summary: AuditSummary, kinds: dict[str, Any]) -> Any:
    counts = {
        kind: {int(bin_) * BIN_WIDTH + LOWEST: count for bin_, count in entry["histogram"].items()}
        for kind, entry in kinds.items()
    }
    if not counts:
        return None
    across = "conflict score, in standard deviations of harmless rows"
    return figures.counted_histogram(counts, BIN_WIDTH, across=across, line_at=summary.conflict["threshold"])


def _categories(summary: AuditSummary, kinds: dict[str, Any]) -> Any:
    names = sorted({name for entry in kinds.values() for name in entry["categories"]})
    if names in ([], [NO_CATEGORY]):
        return None  # the table by kind shows the same
    columns = {"all rows": summary.all, **kinds} if len(kinds) > 1 else kinds
    shares = [[entry["categories"][name]["value"] for entry in columns.values()] for name in names]
    return figures.heat_map(names, list(columns), shares, label="rows in conflict, %")


def _kept(kinds: dict[str, Any]) -> Any:
    curves = {
        kind: sorted((100 * float(budget), 100 * share["value"]) for budget, share in entry["kept"].items())
        for kind, entry in kinds.items()
    }
    return figures.lines(curves, across="token budget, %", up="rows kept, %") if curves else None


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def _short(number: float) -> float:
    return float(f"{number:.4g}")
