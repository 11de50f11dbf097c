"""The Pareto figure: safety against utility, one point per method."""

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dualselect.comparison.formatting import WIN_RATES, has_fewer_seeds, title_of


# Okabe-Ito, safe for color-blind readers
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "osD^vPX"
GRAY = "#808080"
SAFETY = ("safety_average", "refusal_rate", "attack_success_rate")
UTILITY = ("exact_match", "exact_match_flexible", "answer_probability", "win_rate", "preference_accuracy")
EXACT = UTILITY[:2]
FEW = 0.2
"""Minimum share of exact matches, reached by some method, for exact match to be an axis."""
INVERTED_TITLES = {"attacks succeed": "attacks fail", "chat unsafe": "chat safe"}
"""Titles of metrics that are inverted, so that higher is better."""

Row = Mapping[str, Any]
Column = tuple[str, str, str]
"""Metric, suite and judge."""


def axes_of(content: Mapping[str, Any]) -> tuple[Column, Column] | None:
    """The utility and safety columns of the figure: the first pair that at least two methods have.

    - Metrics without a direction are not used.
    - For safety, harmful suites come before chat suites.
    - A win rate on harmful prompts, over several suites, or on a suite of the safety axis is not utility.
    - If no method reaches `FEW` exact matches, the probability of the answers replaces them.
    """
    exact = [row for row in content["rows"] if row["metric"] in EXACT]
    exact_suites = {row["suite"] for row in exact if (row["value"] or 0.0) >= FEW}
    probability_suites = {row["suite"] for row in content["rows"] if row["metric"] == "answer_probability"}
    rows = {_column(row): row for row in content["rows"] if row["higher_is_better"] is not None}
    averaged = content.get("average", ())
    for safety in sorted(_columns(rows, SAFETY), key=lambda column: rows[column].get("purpose") == "chat"):
        for utility in _columns(rows, UTILITY):
            if utility[0] in EXACT and utility[1] in probability_suites - exact_suites:
                continue
            purpose = rows[utility].get("purpose", "")
            about_safety = utility[1] in (safety[1], *averaged) or (
                purpose == "harmful" or (utility[0] == "win_rate" and not purpose)
            )
            if not about_safety and len(_points(content, utility, safety)) > 1:
                return utility, safety
    return None


def on_fewer_seeds(content: Mapping[str, Any]) -> set[str]:
    """Methods on fewer seeds, which figures omit if two or more methods remain."""
    fewer = {one["name"] for one in content["methods"] if has_fewer_seeds(one, content)}
    trained = {one["name"] for one in content["methods"] if one["seeds"]}
    return fewer if len(trained - fewer) > 1 else set()


def pareto_figure(content: Mapping[str, Any]) -> str | None:
    """Scatter plot of safety and utility with error bars and the Pareto front, as SVG; None without data.

    Methods on fewer seeds are omitted and counted. Names are in a column next to the points, so that they do not
    overlap.

    Args:
        content: Content of comparison.json.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    axes_names = axes_of(content)
    if axes_names is None:
        return None
    points, left_out = _points(content, *axes_names), on_fewer_seeds(content)
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "dualselect"}):
        figure = Figure(figsize=(8.6, max(4.2, 0.18 * len(points) + 0.8)), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        _draw(axes, points, {one["name"] for one in content["methods"] if not one["seeds"]})
        rows = {_column(row): row for row in content["rows"]}
        note = f"\n{len(left_out)} methods on fewer seeds are not shown" if left_out else ""
        axes.set_xlabel(_label(rows[axes_names[0]]) + note)
        axes.set_ylabel(_label(rows[axes_names[1]]))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


Point = tuple[tuple[float, float, float], tuple[float, float, float]]
"""(value, low, high) of utility and of safety, in percent."""


def _draw(axes: Any, points: Mapping[str, Point], minor: set[str]) -> None:
    for index, (name, (x, y)) in enumerate(points.items()):
        color = GRAY if name in minor else COLORS[index % len(COLORS)]
        axes.errorbar(
            [x[0]], [y[0]], xerr=_ends(x), yerr=_ends(y), color=color, marker=MARKERS[index % len(MARKERS)],
            markersize=7, markerfacecolor="none" if name in minor else color, elinewidth=0.8, capsize=2, alpha=0.8,
        )  # fmt: skip
    front = sorted((x[0], y[0]) for x, y in points.values() if not _dominated((x[0], y[0]), points))
    axes.plot(*zip(*front, strict=True), color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
    low, high = axes.get_ylim()
    heights = _spread({name: (up[0] - low) / (high - low) for name, (_, up) in points.items()})
    for index, (name, (x, y)) in enumerate(points.items()):
        color = GRAY if name in minor else COLORS[index % len(COLORS)]
        axes.annotate(
            name, (x[0], y[0]), xytext=(1.02, heights[name]), textcoords="axes fraction", color=color, va="center",
            fontsize=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.4, "alpha": 0.6, "relpos": (0, 0.5)},
        )  # fmt: skip


def _spread(values: Mapping[str, float]) -> dict[str, float]:
    """Label positions in [0, 1], close to the values but with a minimum distance."""
    distance = 1.0 / max(20, len(values))
    order = sorted(values, key=lambda name: values[name])
    heights = [values[name] for name in order]
    for index in range(1, len(order)):
        heights[index] = max(heights[index], heights[index - 1] + distance)
    top = 1.0
    for index in reversed(range(len(order))):
        heights[index] = top = min(heights[index], top)
        top -= distance
    return dict(zip(order, heights, strict=True))


def _ends(cell: tuple[float, float, float]) -> list[list[float]]:
    value, low, high = cell
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _dominated(point: tuple[float, float], points: Mapping[str, Point]) -> bool:
    others = [(x[0], y[0]) for x, y in points.values()]
    return any(other != point and other[0] >= point[0] and other[1] >= point[1] for other in others)


def _points(content: Mapping[str, Any], utility: Column, safety: Column) -> dict[str, Point]:
    rows = {(row["method"], row["metric"], row["suite"], row["judge"]): row for row in content["rows"]}
    points = {}
    left_out = on_fewer_seeds(content)
    for method in content["methods"]:
        if method["name"] in left_out:
            continue
        pair = [rows.get((method["name"], *column)) for column in (utility, safety)]
        if pair[0] and pair[1] and pair[0]["value"] is not None and pair[1]["value"] is not None:
            points[method["name"]] = (_percent(pair[0]), _percent(pair[1]))
    return points


def _percent(row: Row) -> tuple[float, float, float]:
    """(value, low, high), inverted if lower is better."""
    scale = 1.0 if row["metric"] in WIN_RATES else 100.0
    value = scale * row["value"]
    low, high = (value if row[end] is None else scale * row[end] for end in ("low", "high"))
    return (value, low, high) if row["higher_is_better"] else (100 - value, 100 - high, 100 - low)


def _column(row: Row) -> Column:
    return row["metric"], row["suite"], row["judge"]


def _columns(known: Collection[Column], metrics: Sequence[str]) -> list[Column]:
    return [column for metric in metrics for column in known if column[0] == metric]


def _label(row: Row) -> str:
    metric, suite, judge = _column(row)
    title = title_of(row)
    source = ", ".join(part for part in (suite, judge and f"judge {judge}") if part)
    unit = "win rate" if metric in WIN_RATES else "%"
    return f"{INVERTED_TITLES.get(title, title)}, {unit}" + (f" ({source})" if source else "")
