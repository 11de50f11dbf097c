"""A comparison as text: one line per method, one column per measure."""

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
"""Metrics of the table in its order, and their headings."""
CHAT_TITLES = {"refusal_rate": "chat refused", "attack_success_rate": "chat unsafe"}
"""Headings where the prompts are chats, which nothing says are harmful."""
RATIOS = ("training_time_ratio", "peak_gpu_memory_ratio", "peak_memory_ratio", "rows_forward_backward_ratio")
WIN_RATES = ("safety_average", "win_rate", "win_rate_length_controlled")
MEANS = ("harmfulness", "kl_to_start", "preference_margin", "reward")
BROKEN = {"empty_rate": "empty", "repetitive_rate": "repetitive"}
BROKEN_FROM = 0.1
"""Share of empty, repetitive or cut responses from which on a line is marked."""

Row = Mapping[str, Any]


def title_of(row: Row) -> str:
    """The heading of a row's metric, which depends on what the prompts of its suite are for."""
    chat = CHAT_TITLES if row.get("purpose") == "chat" else {}
    return chat.get(row["metric"], TITLES[row["metric"]])


def table_cells(content: Mapping[str, Any]) -> list[list[str]]:
    """Headings and lines of the table.

    Args:
        content: Of comparison.json.
    """
    shown = sorted(
        (row for row in content["rows"] if row["metric"] in TITLES),
        key=lambda row: list(TITLES).index(row["metric"]),
    )
    rows = {(row["method"], *_column(row)): row for row in shown}
    columns = list(dict.fromkeys(_column(row) for row in shown))
    cells = [["method", *(_heading(column, columns) for column in columns)]]
    for method in content["methods"]:
        found = [rows.get((method["name"], *column)) for column in columns]
        cells.append([_named(method, content), *(_cell(row) for row in found)])
    return cells


def markdown(cells: Sequence[Sequence[str]]) -> str:
    """Cells as a table of Markdown."""
    lines = ["| " + " | ".join(one_line(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * len(cells[0]), *lines[1:]])


def notes(content: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know: steps, broken outputs, unscored prompts, what was chosen, what failed."""
    lines = _steps(content["methods"]) + _cut(content["rows"])
    for row in content["rows"]:
        if row["metric"] in BROKEN and (row["value"] or 0) >= BROKEN_FROM:
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
            told = ", for not every one of them has a value" if tuning["chosen"] is None else ""
            lines.append(f"{method['name']}: {chosen} chosen by {tuning['by'].replace('_', ' ')} in {tuning['runs']} "
                         f"runs{told}")  # fmt: skip
        lines += [f"{method['name']}, {run}: failed: {reason}" for run, reason in method.get("failed", {}).items()]
    return lines


def _steps(methods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Optimizer steps of the methods, where they are not as many for all: the usual number last."""
    named: dict[str, list[str]] = {}
    for method in methods:
        if steps := method.get("steps"):
            least, most = min(steps.values()), max(steps.values())
            named.setdefault(f"{least}" if least == most else f"{least} to {most}", []).append(method["name"])
    *fewer, (usual, _) = sorted(named.items(), key=lambda item: len(item[1])) or [("", [])]
    told = "; ".join(f"{count} for {', '.join(names)}" for count, names in fewer)
    return [f"optimizer steps: {told}; {usual} for all others"] if fewer else []


def _cut(rows: Sequence[Row]) -> list[str]:
    """Of each task suite the methods whose responses are often cut off; elsewhere these are judged all the same."""
    named: dict[str, list[str]] = {}
    for row in rows:
        if row["metric"] == "truncated_rate" and row.get("purpose") == "task" and (row["value"] or 0) >= BROKEN_FROM:
            named.setdefault(row["suite"], []).append(f"{row['method']} {row['value']:.0%}")
    return [
        f"responses in {suite} that max_new_tokens cuts off, which are not exact where the answer was still to come: "
        + ", ".join(told)
        for suite, told in named.items()
    ]


def _column(row: Row) -> tuple[str, str, str]:
    return title_of(row), row["suite"], row["judge"]


def _heading(column: tuple[str, str, str], columns: Sequence[tuple[str, str, str]]) -> str:
    """The title, with suite and judge where the title alone would not tell columns apart."""
    title, suite, judge = column
    alike = [other for other in columns if other[0] == title]
    said = [suite] if len({other[1] for other in alike}) > 1 else []
    said += [judge] if len({other[2] for other in alike}) > 1 else []
    return title + (f" ({', '.join(said)})" if said else "")


def has_fewer_seeds(method: Mapping[str, Any], content: Mapping[str, Any]) -> bool:
    """Whether a method was trained on some of a comparison's seeds only; the start model was trained on none."""
    return 0 < len(method["seeds"]) < len(content["seeds"])


def _named(method: Mapping[str, Any], content: Mapping[str, Any]) -> str:
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
