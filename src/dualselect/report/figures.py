"""The figures of a page, as SVG text that works on light and dark backgrounds.

Legends are HTML above the drawing, so that they wrap on small screens and long names cover nothing.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dualselect.report.headline import Cell
from dualselect.system.visible import visible


# Okabe-Ito, safe for color-blind readers; marks and dashes distinguish series of the same color
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
DASHES = {"-": "━", "--": "╍", ":": "┈"}
GRAY = "#808080"
MOST_POINTS = 150
"""Most points of a curve; longer ones are averaged over neighbors."""
MOST_BINS = 24
"""Most bins of a counted histogram; neighbors are merged if there are more."""


def grouped_bars(groups: Sequence[str], series: Mapping[str, Sequence[Mapping[str, float]]]) -> Markup:
    """Bar chart of rates with intervals.

    Args:
        groups: Group labels.
        series: One rate per group for each name: `successes`, `count`, `low`, `high`.
    """
    figure, axes = _figure(7.2, 3.0)
    width = 0.8 / len(series)
    for index, rates in enumerate(series.values()):
        at = [group + (index - (len(series) - 1) / 2) * width for group in range(len(groups))]
        values = [100 * rate["successes"] / rate["count"] for rate in rates]
        errors = [
            [max(0.0, value - 100 * rate["low"]) for value, rate in zip(values, rates, strict=True)],
            [max(0.0, 100 * rate["high"] - value) for value, rate in zip(values, rates, strict=True)],
        ]
        axes.bar(at, values, width * 0.92, color=_color(index), yerr=errors, ecolor=GRAY, capsize=2)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 105)
    axes.set_ylabel("% of prompts")
    return _legend(series, "■") + _svg(figure)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    across: str,
    up: str,
    steps: Sequence[tuple[float, float]] = (),
) -> Markup:
    """Line chart of named series.

    Args:
        series: (x, y) points by name, in order of x.
        across: Label of the x axis.
        up: Label of the y axis.
        steps: Points of a dashed gray step line, such as a threshold that changes at refreshes.
    """
    figure, axes = _figure(5.4, 3.0)
    dashes = list(DASHES)
    for index, points in enumerate(series.values()):
        shown = _thinned(points)
        style = {"color": _color(index), "linestyle": dashes[index // len(COLORS) % len(dashes)]}
        axes.plot([x for x, _ in shown], [y for _, y in shown], marker="." if len(shown) == 1 else None, **style)
    if steps:
        end = max((points[-1][0] for points in series.values() if points), default=steps[-1][0])
        xs, ys = [x for x, _ in steps] + [max(end, steps[-1][0])], [y for _, y in steps] + [steps[-1][1]]
        axes.step(xs, ys, where="post", color=GRAY, linestyle="--", linewidth=1.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=7, steps=[1, 2, 5, 10]))
    axes.set_xlabel(_label(across, 60))
    axes.set_ylabel(_label(up, 40))
    glyphs = [DASHES[dashes[index // len(COLORS) % len(dashes)]] for index in range(len(series))]
    return _legend(series, *glyphs) + _svg(figure)


def histogram(values: Mapping[str, Sequence[float]], *, across: str, line_at: float | None) -> Markup:
    """Density histograms of named values, with a vertical line."""
    figure, axes = _figure(5.4, 3.0)
    pooled = [value for series in values.values() for value in series]
    span = (min(pooled), max(pooled)) if pooled else (-1.0, 1.0)
    names = sorted(values)
    for index, name in enumerate(names):
        axes.hist(values[name], bins=20, range=span, histtype="step", linewidth=1.6, density=True, color=_color(index))
    if line_at is not None:
        axes.axvline(line_at, color=GRAY, linestyle="--")
    axes.set_xlabel(_label(across, 60))
    axes.set_ylabel("density")
    return _legend(names, "━") + _svg(figure)


def counted_histogram(
    counts: Mapping[str, Mapping[float, int]], width: float, *, across: str, line_at: float | None
) -> Markup:
    """Density histograms of named values that are already binned, with a vertical line.

    Args:
        counts: For each name the count of each bin, by the bin's lower edge.
        width: Bin width.
        across: Label of the x axis.
        line_at: Position of the line; None for no line.
    """
    figure, axes = _figure(5.4, 3.0)
    occupied = sorted({low for bins in counts.values() for low in bins})
    first, last = (occupied[0], occupied[-1] + width) if occupied else (-1.0, 1.0)
    bins = max(1, round((last - first) / width))
    merged = -(-bins // MOST_BINS)
    edges = [first + index * width * merged for index in range(-(-bins // merged) + 1)]
    names = sorted(counts)
    for index, name in enumerate(names):
        heights, total = [0.0] * (len(edges) - 1), sum(counts[name].values())
        for low, count in counts[name].items():
            heights[round((low - first) / width) // merged] += count / (total * width * merged)
        style = list(DASHES)[index // len(COLORS) % len(DASHES)]
        axes.stairs(heights, edges, linewidth=1.6, color=_color(index), linestyle=style)
    if line_at is not None:
        axes.axvline(line_at, color=GRAY, linestyle="--")
    axes.set_xlabel(_label(across, 60))
    axes.set_ylabel("density")
    glyphs = [list(DASHES.values())[index // len(COLORS) % len(DASHES)] for index in range(len(names))]
    return _legend(names, *(glyphs or ["━"])) + _svg(figure)


def heat_map(down: Sequence[str], across: Sequence[str], values: Sequence[Sequence[float]], *, label: str) -> Markup:
    """Annotated heat map of shares, in percent.

    Args:
        down: Row labels.
        across: Column labels.
        values: Shares in [0, 1] by row and column.
        label: Label of the color bar.
    """
    figure = _blank(2.6 + 0.75 * len(across), 1.3 + 0.28 * len(down))
    axes = figure.subplots()
    percents = [[100 * share for share in shares] for shares in values]
    image = axes.imshow(percents, aspect="auto", cmap="cividis", vmin=0, vmax=100, interpolation="none")
    for row, shares in enumerate(percents):
        for column, share in enumerate(shares):
            # the color map is dark in its lower half, in both color schemes of the page
            color = "#ffffff" if share < 50 else "#000001"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_yticks(range(len(down)), [_label(name) for name in down])
    axes.set_xticks(range(len(across)), [_label(name, 18) for name in across], rotation=30, ha="right")
    figure.colorbar(image, ax=axes, label=_label(label, 40))
    return _svg(figure)


def intervals(rows: Mapping[str, Mapping[str, Cell]], names: Sequence[str], *, across: str) -> Markup:
    """Dot plot of values with intervals: one row per category, one dot per name.

    Args:
        rows: For each category the cell of each name; missing cells have no dot.
        names: Names of the compared models.
        across: Label of the x axis.
    """
    figure, axes = _figure(5.4, 0.8 + len(rows) * (0.2 + 0.1 * len(names)))
    positions = {name: index for index, name in enumerate(names)}
    for height, cells in enumerate(reversed(list(rows.values()))):
        if height:
            axes.axhline(height - 0.5, color=GRAY, linewidth=0.4, alpha=0.5)
        for name, cell in cells.items():
            at = height + ((len(names) - 1) / 2 - positions[name]) * 0.8 / max(len(names), 2)
            _dot(axes, cell, at, positions[name])
    axes.set_yticks(range(len(rows)), [_label(category) for category in reversed(list(rows))])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xlabel(_label(across, 60))
    if all(cell.percent for cells in rows.values() for cell in cells.values()):
        axes.set_xlim(-3, 103)
    return _legend(names, *_marks(len(names))) + _svg(figure)


def _dot(axes: Any, cell: Cell, at: float, index: int) -> None:
    if cell.value is None:
        return
    if cell.low is not None and cell.high is not None:
        axes.plot([cell.low, cell.high], [at, at], color=_color(index), linewidth=1, alpha=0.7)
    axes.plot([cell.value], [at], color=_color(index), marker=list(MARKS)[index % len(MARKS)], markersize=5)


def trade_off(points: Mapping[str, tuple[Cell, Cell]], *, across: str, up: str) -> Markup:
    """Scatter plot of two values per name, with intervals.

    Args:
        points: For each name its x cell and y cell.
        across: Label of the x axis.
        up: Label of the y axis.
    """
    figure, axes = _figure(6.4, 4.0)
    for index, (x, y) in enumerate(points.values()):
        color = _color(index)
        for cell, other, horizontal in ((x, y, True), (y, x, False)):
            if cell.low is not None and cell.high is not None:
                ends, fixed = [cell.low, cell.high], [other.value, other.value]
                axes.plot(*((ends, fixed) if horizontal else (fixed, ends)), color=color, linewidth=0.8, alpha=0.5)
        axes.plot([x.value], [y.value], color=color, marker=list(MARKS)[index % len(MARKS)], markersize=8)
    axes.set_xlabel(_label(across, 60))
    axes.set_ylabel(_label(up, 40))
    return _legend(points, *_marks(len(points))) + _svg(figure)


def timeline(steps: Sequence[int], shares: Sequence[Mapping[str, float]], overlaps: Sequence[float | None]) -> Markup:
    """Selected share of each category at each refresh, and the overlap of consecutive selections.

    Args:
        steps: The step of each refresh.
        shares: For each refresh the selected share of each category's references.
        overlaps: For each refresh the Jaccard index with the previous one; None for the first.
    """
    categories = sorted({category for refresh in shares for category in refresh})
    height = 0.24 * len(categories)
    figure = _blank(7.2, height + 2.1)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[height + 0.1, 1.0])
    table = [[refresh.get(category, 0.0) for refresh in shares] for category in categories]
    image = upper.imshow(table, aspect="auto", cmap="cividis", vmin=0, vmax=1, interpolation="none")
    upper.set_yticks(range(len(categories)), [_label(category) for category in categories])
    upper.tick_params(bottom=False, labelbottom=False)
    figure.colorbar(image, ax=upper, label="share selected", aspect=max(6, height * 4))
    known = [(index, value) for index, value in enumerate(overlaps) if value is not None]
    lower.plot([index for index, _ in known], [value for _, value in known], color=COLORS[0], marker=".")
    lower.set_ylim(-0.05, 1.05)
    lower.set_ylabel("Jaccard")
    lower.spines[["top", "right"]].set_visible(False)
    every = -(-len(steps) // 10)
    lower.set_xticks(range(0, len(steps), every), [str(step) for step in steps[::every]])
    lower.set_xlabel("optimizer step of the refresh")
    return _svg(figure)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = -(-len(points) // MOST_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _color(index: int) -> str:
    return COLORS[index % len(COLORS)]


def _marks(count: int) -> list[str]:
    glyphs = list(MARKS.values())
    return [glyphs[index % len(glyphs)] for index in range(count)]


def _label(text: str, most: int = 26) -> str:
    """Truncate a label, to leave room for the plot."""
    text = visible(text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _legend(names: Sequence[str] | Mapping[str, Any], *glyphs: str) -> Markup:
    """Names with colored glyphs; the last glyph is reused for the remaining names."""
    entries = [
        Markup('<span><b style="color: {}" aria-hidden="true">{}</b> {}</span>').format(
            _color(index), glyphs[min(index, len(glyphs) - 1)], visible(name)
        )
        for index, name in enumerate(names)
    ]
    return Markup('<p class="legend">') + Markup(" ").join(entries) + Markup("</p>")


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    figure = _blank(width, height)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _blank(width: float, height: float) -> Figure:
    # SVG text uses the page's font and color scheme; $ is not math; output is deterministic
    mpl.rcParams |= {"svg.fonttype": "none", "text.parse_math": False, "svg.hashsalt": "dualselect"}
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> Markup:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    # ids repeat in every figure, but must be unique on a page
    svg = re.sub(r' id="[A-Za-z0-9]+_\d+"', "", svg)
    # matplotlib omits black, its default for text: state it, so that it follows the page's color scheme
    return Markup(re.sub(r'<text (style="(?:(?!fill:)[^"])*)"', r'<text \1; fill: currentColor"', svg))  # noqa: S704 - generated here
