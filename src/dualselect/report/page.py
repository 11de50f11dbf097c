"""`report.html`: runs and comparisons as one self-contained page that needs no network.

Rows and responses are untrusted and often hostile texts. The template escapes them, or they are JSON that the script
inserts as text; control characters are made visible; and a content security policy allows only the page's own scripts
and no network access.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from dualselect.comparison.figure import axes_of, on_fewer_seeds
from dualselect.errors import ConfigError
from dualselect.report import figures
from dualselect.report.folders import Evaluation, RunFiles, read_folders
from dualselect.report.headline import Measure, Numbers, by_category, compared, headline, overall
from dualselect.report.history import (
    final_same_references_cosine,
    harmless_if_left_out,
    means_by_kind,
    refresh_changes,
    strengths,
    task_drift,
    task_rows,
)
from dualselect.report.tables import ROW_LIMIT, Table, reference_table, response_table, task_table
from dualselect.report.texts import row_texts
from dualselect.runs.summary import dropped_tokens
from dualselect.system.files import write_text
from dualselect.system.visible import visible


# Stands at the top of every template.
PAGE_MARK = "<title>dualselect"
TOP_CHARACTERS = 4096
# these characters could end the script element or start a comment, and JSON allows the escapes everywhere
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def write_report(paths: Sequence[Path], output: Path) -> Path:
    """Write the page of runs and comparisons.

    Args:
        paths: Folders of runs and comparisons, or evaluation files.
        output: The HTML file.

    Returns:
        `output`.

    Raises:
        DataError: A path is none of these, or holds a file that cannot be read.
    """
    runs, comparisons = read_folders(paths)
    texts = {run.name: row_texts(run.path) for run in runs if run.selection}
    evaluations = [evaluation for run in runs for evaluation in run.evaluations]
    tables = [
        table
        for table in (
            task_table([run for run in runs if run.selection], texts),
            reference_table([run for run in runs if run.selection], texts),
            response_table(evaluations),
        )
        if table.rows
    ]
    page = page_environment().get_template("report.html.j2").render(
        evaluations=evaluations,
        names=[run.name for run in runs] + [comparison.name for comparison in comparisons],
        measured=_measured(overall(evaluations), _as_comparison(evaluations)),
        comparisons=[
            {
                "name": it.name,
                "path": it.path,
                "content": it.content,
                "measured": _measured(compared(it.content), it.content),
            }
            for it in comparisons
        ],
        categories=_categories(evaluations),
        losses=_losses(runs),
        runs=[_selection(run) for run in runs if run.selection],
        tables={table.name: table for table in tables},
        missing={name: found.missing for name, found in texts.items() if found.missing},
        left_out=[reason for run in runs for reason in run.left_out],
        row_limit=ROW_LIMIT,
        **table_scripts(tables),
    )  # fmt: skip
    write_page(output, page)
    return output


def write_page(output: Path, page: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        ConfigError: The file is there and is not a page of this project.
    """
    check_page(output)
    write_text(output, page)


def check_page(output: Path) -> None:
    """Refuse to replace a file that is not a page of this project.

    Raises:
        ConfigError: It is not.
    """
    if not output.is_file():
        return
    with output.open(encoding="utf-8", errors="replace") as file:
        if PAGE_MARK not in file.read(TOP_CHARACTERS):
            raise ConfigError(
                f"{output} is there and is not a page of dualselect, so it is not replaced: move it away, or name "
                "another file with --output"
            )


def page_environment() -> Environment:
    """The template environment: escapes texts and makes control characters visible."""
    environment = Environment(
        loader=PackageLoader("dualselect", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters["zip"] = zip
    return environment


def _as_comparison(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Evaluations in the format of a comparison of their models."""
    return {
        "methods": [{"name": it.name, "seeds": []} for it in evaluations],
        "seeds": [],
        "rows": [
            row | {"method": it.name, "judge": row["judge"] or ""}
            for it in evaluations
            for row in it.content["summary"]
            if not row["category"]
        ],
    }


def _measured(numbers: Numbers, content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The table and the figure of some models; None without numbers."""
    return {"grid": headline(numbers), "pareto": _trade_off(numbers, content)} if any(numbers.values()) else None


def _trade_off(numbers: Numbers, content: Mapping[str, Any]) -> dict[str, Any] | None:
    axes = axes_of(content)
    if axes is None:
        return None
    across, up = measures = [Measure(suite, metric, judge) for metric, suite, judge in axes]
    fewer = on_fewer_seeds(content)
    both = {name: (cells.get(across), cells.get(up)) for name, cells in numbers.items() if name not in fewer}
    shown = {
        name: (x, y)
        for name, (x, y) in both.items()
        if x is not None and y is not None and None not in (x.value, y.value)
    }
    titles = [
        measure.title + (f" ({measure.suite})" if measure.suite else "") + (", %" if cell.percent else "")
        for measure, cell in zip(measures, next(iter(shown.values())), strict=True)
    ]
    return {
        "figure": figures.trade_off(shown, across=titles[0], up=titles[1]),
        "across": across,
        "up": up,
        "lower_is_better": next(iter(shown.values()))[1].higher_is_better is False,
        "left_out": [name for name in both if name not in shown],
        "fewer_seeds": len(fewer),
    }


def _categories(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    parts = []
    for metric in ("refusal_rate", "attack_success_rate", "over_refusal_rate"):
        for measure, rows in by_category(evaluations, metric).items():
            names = [it.name for it in evaluations if any(it.name in cells for cells in rows.values())]
            figure = figures.intervals(rows, names, across=f"{measure.title}, %")
            parts.append({"measure": measure, "figure": figure})
    return parts


def _losses(runs: Sequence[RunFiles]) -> Markup | None:
    curves = {
        run.name: [(entry["step"], entry["loss"]) for entry in run.metrics if entry.get("loss") is not None]
        for run in runs
    }
    curves = {name: points for name, points in curves.items() if points}
    return figures.lines(curves, across="optimizer step", up="loss of the kept rows") if curves else None


def _selection(run: RunFiles) -> dict[str, Any]:
    rows = task_rows(run.selection)
    changes, drift = refresh_changes(run.selection), task_drift(run.selection)
    kinds: dict[str, dict[str, int]] = {}
    for row in rows:
        counts = kinds.setdefault(row.kind, {"rows": 0, "occurrences": 0, "dropped": 0})
        counts["rows"] += 1
        counts["occurrences"] += sum(it.kept is not None for it in row.occurrences)
        counts["dropped"] += row.dropped
        counts[row.selection_status] = counts.get(row.selection_status, 0) + 1
    conflicts, rhos = means_by_kind(rows, "conflict"), strengths(run.selection)
    curves = conflicts or means_by_kind(rows, "cosine")
    up = "mean conflict score" if conflicts else "mean cosine to the references"
    thresholds = [(it.step, it.conflict_threshold) for it in changes if it.conflict_threshold is not None]
    return {
        "name": run.name,
        "dropped_tokens": dropped_tokens(run.selection),
        "steps": sum(line["event"] in ("warmup", "step") for line in run.selection),
        "warmup": sum(line["event"] == "warmup" for line in run.selection),
        "changes": changes,
        "final_same_references_cosine": final_same_references_cosine(run.selection),
        "drift": figures.lines({"task direction": drift}, across="optimizer step", up="cosine to the last refresh")
        if drift
        else None,
        "kinds": dict(sorted(kinds.items())),
        "curves": figures.lines(curves, across="optimizer step", up=up, steps=thresholds) if curves else None,
        "has_threshold": bool(thresholds),
        "left_out": harmless_if_left_out(run.selection),
        "strengths": figures.lines(rhos, across="optimizer step", up="rho; excess loss in nats") if rhos else None,
        "timeline": figures.timeline(
            [it.step for it in changes], [it.shares for it in changes], [it.jaccard for it in changes]
        )
        if changes
        else None,
    }


def table_scripts(tables: Sequence[Table]) -> dict[str, Any]:
    """Scripts, data and styles of the tables, and the policy that allows only these scripts."""
    if not tables:
        return {"scripts": [], "data": {}, "table_style": "", "policy": _policy([])}
    folder = resources.files("dualselect.report")
    vendored = [
        (folder / "vendor" / name).read_text("utf-8") for name in ("tabulator.min.js", "tabulator_simple.min.css")
    ]
    # debuggers would fetch source maps from next to the page
    library, style = (re.sub(r"(//|/\*)# sourceMappingURL=\S+?\.map( ?\*/)?", "", text) for text in vendored)
    scripts = [library, (folder / "page.js").read_text("utf-8")]
    return {
        "scripts": [Markup(script) for script in scripts],  # noqa: S704 - this package's own files
        "data": {table.name: _as_json(table.as_values()) for table in tables},
        "table_style": Markup(style),  # noqa: S704
        "policy": _policy(scripts),
    }


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{it}'" for it in hashes) or "'none'"
    nothing = "default-src 'none'; base-uri 'none'; form-action 'none'"
    return f"{nothing}; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"


def _as_json(value: Any) -> Markup:
    text = json.dumps(_all_visible(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))  # noqa: S704 - escaped for a script element


def _all_visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {key: _all_visible(item) for key, item in value.items()}
    return [_all_visible(item) for item in value] if isinstance(value, list | tuple) else value
