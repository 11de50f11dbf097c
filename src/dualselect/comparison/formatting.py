"""Format a comparison as a table: one line per method, one column per metric."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.system.visible import one_line


TITLES = {
    "refusal_rate": "harmful refused",
    "attack_success_rate": "attacks succeed",
    "harmfulness": "harmfulness",
    "safety_average": "Safety Avg",
    "win_rate": "win rate",
    "win_rate_length_controlled": "win rate, length-controlled",
    "over_refusal_rate": "harmless refused",
    "exact_match": "task exact",
    "answer_probability": "task probability",
    "preference_accuracy": "preferences",
    "kl_to_start": "KL to start",
    "training_time_ratio": "time",
    "peak_gpu_memory_ratio": "GPU memory",
    "peak_memory_ratio": "memory",
}
"""Headings of the metrics, in table order."""
CHAT_TITLES = {"refusal_rate": "chat refused", "attack_success_rate": "chat unsafe"}
"""Headings for suites of chat prompts, which are not known to be harmful."""
RATIOS = ("training_time_ratio", "peak_gpu_memory_ratio", "peak_memory_ratio", "rows_forward_backward_ratio")
WIN_RATES = ("safety_average", "win_rate", "win_rate_length_controlled")
MEANS = ("harmfulness", "kl_to_start", "preference_margin", "reward")
BROKEN = {"empty_rate": "empty", "repetitive_rate": "repetitive"}
BROKEN_THRESHOLD = 0.1
"""Share of empty, repetitive or truncated responses from which a note is shown."""

Row = Mapping[str, Any]


def title_of(row: Row) -> str:
    """The heading of a row's metric, which depends on the purpose of its suite."""
    chat = CHAT_TITLES if row.get("purpose") == "chat" else {}
    return chat.get(row["metric"], TITLES[row["metric"]])


def table_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """Headings and lines of the table.

    Args:
        content: Content of comparison.json.
    """
    shown = sorted(
        (row for row in content["rows"] if row["metric"] in TITLES),
        key=lambda row: list(TITLES).index(row["metric"]),
    )
    rows = {(row["method"], *_column(row)): row for row in shown}
    columns = list(dict.fromkeys(_column(row) for row in shown))
    cells = [["method", *(_heading(column, columns) for column in columns)]]
    for method in content["methods"]:
        method_rows = [rows.get((method["name"], *column)) for column in columns]
        cells.append([_label(method, content), *(_cell(row) for row in method_rows)])
    return cells


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table."""
    lines = ["| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def notes(content: Mapping[str, Any]) -> list[str]:
    """Notes to the table: optimizer steps, broken outputs, unscored prompts, tuned settings, failures."""
    lines = _steps(content["methods"]) + _corrected(content) + _truncated(content["rows"])
    for row in content["rows"]:
        if row["metric"] in BROKEN and (row["value"] or 0) >= BROKEN_THRESHOLD:
            lines.append(f"{row['method']}: {row['value']:.0%} of the responses in {row['suite']} are "
                         f"{BROKEN[row['metric']]}")  # fmt: skip
        if row["unscored"] and row["metric"] in TITLES and row["suite"]:
            lines.append(
                f"{row['method']}: {row['unscored']} of {row['unscored'] + row['count']} in {row['suite']} are "
                f"unscored ({title_of(row)}, {row['judge'] or 'no judge'})"
            )
    for method in content["methods"]:
        if tuning := method.get("tuning"):
            chosen = ", ".join(f"{name} {value}" for name, value in (tuning["chosen"] or {}).items()) or "nothing"
            reason = ", because not all of them have a value" if tuning["chosen"] is None else ""
            lines.append(f"{method['name']}: {chosen} chosen by {tuning['by'].replace('_', ' ')} in {tuning['runs']} "
                         f"runs{reason}")  # fmt: skip
        lines += [f"{method['name']}, {run}: failed: {reason}" for run, reason in method.get("failed", {}).items()]
    return lines


def _steps(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Optimizer steps of the methods, if they differ; the most common number last."""
    names_by_steps: dict[str, list[str]] = {}
    for method in methods:
        if steps := method.get("steps"):
            least, most = min(steps.values()), max(steps.values())
            names_by_steps.setdefault(f"{least}" if least == most else f"{least} to {most}", []).append(method["name"])
    *others, (usual, _) = sorted(names_by_steps.items(), key=lambda item: len(item[1])) or [("", [])]
    text = "; ".join(f"{count} for {', '.join(names)}" for count, names in others)
    return [f"optimizer steps: {text}; {usual} for all others"] if others else []


def _corrected(content: Mapping[str, Any]) -> list[str]:
    """How well the judges are known to judge, and refusal rates corrected for it, by suite."""
    found: dict[str, list[str]] = {}
    for row in content["rows"]:
        if corrected := row.get("corrected"):
            value, low, high = (100 * end for end in corrected)
            key = f"{title_of(row)} in {row['suite']}, corrected for the errors of judge {row['judge']}"
            found.setdefault(key, []).append(f"{row['method']} {value:.0f}% [{low:.0f}, {high:.0f}]")
    return [*content.get("judges", []), *(f"{key}: {', '.join(methods)}" for key, methods in found.items())]


def _truncated(rows: Sequence[Row]) -> list[str]:
    """Methods with many truncated responses, by task suite; other suites judge truncated responses too."""
    shares: dict[str, list[str]] = {}
    for row in rows:
        if (
            row["metric"] == "truncated_rate"
            and row.get("purpose") == "task"
            and (row["value"] or 0) >= BROKEN_THRESHOLD
        ):
            shares.setdefault(row["suite"], []).append(f"{row['method']} {row['value']:.0%}")
    return [
        f"responses in {suite} truncated by max_new_tokens, which count as not exact if the answer is missing: "
        + ", ".join(methods)
        for suite, methods in shares.items()
    ]


def _column(row: Row) -> tuple[str, str, str]:
    return title_of(row), row["suite"], row["judge"]


def _heading(column: tuple[str, str, str], columns: Sequence[tuple[str, str, str]]) -> str:
    """The title, with suite and judge if several columns share it."""
    title, suite, judge = column
    same_title = [other for other in columns if other[0] == title]
    details = [suite] if len({other[1] for other in same_title}) > 1 else []
    details += [judge] if len({other[2] for other in same_title}) > 1 else []
    return title + (f" ({', '.join(details)})" if details else "")


def has_fewer_seeds(method: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    """Whether a method was trained on only some of the seeds; False for the start model."""
    return 0 < len(method["seeds"]) < len(content["seeds"])


def _label(method: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    count = len(method["seeds"])
    return method["name"] + (f" ({count} seed{'s' if count > 1 else ''})" if has_fewer_seeds(method, content) else "")


def _cell(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "" if row is None else "unscored"
    metric = row["metric"]
    unit = "x" if metric in RATIOS else "" if metric in (*WIN_RATES, *MEANS) else "%"
    ends = [_shown(metric, row[end]) for end in ("low", "high") if row[end] is not None]
    return f"{_shown(metric, row['value'])}{unit}" + (f" [{', '.join(ends)}]" if ends else "")


def _shown(metric: str, number: float) -> str:
    if metric in RATIOS:
        return f"{number:.2f}"
    if metric in MEANS:
        return f"{number:.3g}"
    return f"{number:.0f}" if metric in WIN_RATES else f"{100 * number:.0f}"
