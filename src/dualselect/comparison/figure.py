"""The Pareto figure: safety against utility, one point per method."""

import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from dualselect.comparison.text import WIN_RATES, has_fewer_seeds, title_of


# Okabe-Ito: told apart by color-blind readers too
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKERS = "osD^vPX"
GRAY = "#808080"
SAFETY = ("safety_average", "refusal_rate", "attack_success_rate")
UTILITY = ("exact_match", "exact_match_flexible", "answer_probability", "win_rate", "preference_accuracy")
EXACT = UTILITY[:2]
FEW = 0.2
"""Share of exact matches that some method must reach for these to tell methods apart."""
TURNED = {"attacks succeed": "attacks fail", "chat unsafe": "chat safe"}
"""Headings of what is turned round, so that more is better."""

Row = Mapping[str, Any]
Column = tuple[str, str, str]
"""Metric, suite and judge."""


def axes_of(content: Mapping[str, Any]) -> tuple[Column, Column] | None:
    """Metric, suite and judge of utility and of safety: the first of each that two drawn methods or more have both of.

    What has no direction is neither, harmful suites come before chats as safety, and a win rate of harmful prompts, of
    several suites or of one that safety is made of is no utility. Exact matches that are few for all give way to the
    probability of the answers, where it is known.
    """
    exact = [row for row in content["rows"] if row["metric"] in EXACT]
    reached = {row["suite"] for row in exact if (row["value"] or 0.0) >= FEW}
    likely = {row["suite"] for row in content["rows"] if row["metric"] == "answer_probability"}
    rows = {_column(row): row for row in content["rows"] if row["higher_is_better"] is not None}
    averaged = content.get("average", ())
    for safety in sorted(_columns(rows, SAFETY), key=lambda column: rows[column].get("purpose") == "chat"):
        for utility in _columns(rows, UTILITY):
            if utility[0] in EXACT and utility[1] in likely - reached:
                continue
            purpose = rows[utility].get("purpose", "")
            about_safety = utility[1] in (safety[1], *averaged) or (
                purpose == "harmful" or (utility[0] == "win_rate" and not purpose)
            )
            if not about_safety and len(_points(content, utility, safety)) > 1:
                return utility, safety
    return None


def on_fewer_seeds(content: Mapping[str, Any]) -> set[str]:
    """Methods that the figures leave out: those on fewer seeds than others, as long as two or more are left."""
    fewer = {one["name"] for one in content["methods"] if has_fewer_seeds(one, content)}
    trained = {one["name"] for one in content["methods"] if one["seeds"]}
    return fewer if len(trained - fewer) > 1 else set()


def pareto_figure(content: Mapping[str, Any]) -> str | None:
    """An SVG with error bars; methods that no other beats on both are joined. None when there is nothing to draw.

    Methods on fewer seeds than others are left out, and counted.

    Names stand in a column beside the points, in the order of their height, so that none covers another.

    Args:
        content: Of comparison.json.

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
        told = f"\nmethods on fewer seeds, not shown: {len(left_out)}" if left_out else ""
        axes.set_xlabel(_label(rows[axes_names[0]]) + told)
        axes.set_ylabel(_label(rows[axes_names[1]]))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


Point = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Value, low and high across, then up, in percent."""


def _draw(axes: Any, points: Mapping[str, Point], minor: set[str]) -> None:
    for place, (name, (x, y)) in enumerate(points.items()):
        color = GRAY if name in minor else COLORS[place % len(COLORS)]
        axes.errorbar(
            [x[0]], [y[0]], xerr=_ends(x), yerr=_ends(y), color=color, marker=MARKERS[place % len(MARKERS)],
            markersize=7, markerfacecolor="none" if name in minor else color, elinewidth=0.8, capsize=2, alpha=0.8,
        )  # fmt: skip
    front = sorted((x[0], y[0]) for x, y in points.values() if not _beaten((x[0], y[0]), points))
    axes.plot(*zip(*front, strict=True), color=GRAY, linewidth=0.8, linestyle="--", zorder=0)
    low, high = axes.get_ylim()
    heights = _spread({name: (up[0] - low) / (high - low) for name, (_, up) in points.items()})
    for place, (name, (x, y)) in enumerate(points.items()):
        color = GRAY if name in minor else COLORS[place % len(COLORS)]
        axes.annotate(
            name, (x[0], y[0]), xytext=(1.02, heights[name]), textcoords="axes fraction", color=color, va="center",
            fontsize=8, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.4, "alpha": 0.6, "relpos": (0, 0.5)},
        )  # fmt: skip


def _spread(values: Mapping[str, float]) -> dict[str, float]:
    """Heights for names, in [0, 1]: as near to the values as a distance between any two allows."""
    least = 1.0 / max(20, len(values))
    order = sorted(values, key=lambda name: values[name])
    heights = [values[name] for name in order]
    for place in range(1, len(order)):
        heights[place] = max(heights[place], heights[place - 1] + least)
    top = 1.0
    for place in reversed(range(len(order))):
        heights[place] = top = min(heights[place], top)
        top -= least
    return dict(zip(order, heights, strict=True))


def _ends(cell: tuple[float, float, float]) -> list[list[float]]:
    value, low, high = cell
    return [[max(0.0, value - low)], [max(0.0, high - value)]]


def _beaten(point: tuple[float, float], points: Mapping[str, Point]) -> bool:
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
    """Value, low and high, with more always better."""
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
    told = ", ".join(part for part in (suite, judge and f"judge {judge}") if part)
    unit = "win rate" if metric in WIN_RATES else "%"
    return f"{TURNED.get(title, title)}, {unit}" + (f" ({told})" if told else "")
