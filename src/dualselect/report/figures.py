"""The figures of a page, as SVG text that is drawn on light and dark alike."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure


# Okabe-Ito: told apart by color-blind readers too
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GRAY = "#808080"


def grouped_bars(groups: Sequence[str], series: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Rates as bars with their intervals.

    Args:
        groups: Labels along the axis.
        series: For each name one rate per group: `successes`, `count`, `low`, `high`.
    """
    figure, axes = _figure(7.2, 3.2)
    width = 0.8 / len(series)
    for place, (name, rates) in enumerate(series.items()):
        at = [group + (place - (len(series) - 1) / 2) * width for group in range(len(groups))]
        values = [100 * rate["successes"] / rate["count"] for rate in rates]
        errors = [
            [max(0.0, value - 100 * rate["low"]) for value, rate in zip(values, rates, strict=True)],
            [max(0.0, 100 * rate["high"] - value) for value, rate in zip(values, rates, strict=True)],
        ]
        axes.bar(at, values, width * 0.92, label=name, color=COLORS[place], yerr=errors, ecolor=GRAY, capsize=2)
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 105)
    axes.set_ylabel("% of prompts")
    axes.legend(frameon=False, ncols=len(series), loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return _svg(figure)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, across: str, up: str) -> str:
    """Curves of (x, y) points by name."""
    figure, axes = _figure(5.4, 3.0)
    for color, (name, points) in zip(COLORS[1:], series.items(), strict=False):
        axes.plot([x for x, _ in points], [y for _, y in points], label=name, color=color)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend(frameon=False)
    return _svg(figure)


def histogram(values: Mapping[str, Sequence[float]], *, across: str, line_at: float | None) -> str:
    """Densities of values by name, and a vertical line."""
    figure, axes = _figure(5.4, 3.0)
    everything = [value for some in values.values() for value in some]
    span = (min(everything), max(everything)) if everything else (-1.0, 1.0)
    for color, (name, some) in zip(COLORS, sorted(values.items()), strict=False):
        axes.hist(some, bins=20, range=span, histtype="step", linewidth=1.6, density=True, label=name, color=color)
    if line_at is not None:
        axes.axvline(line_at, color=GRAY, linestyle="--", label="conflict")
    axes.set_xlabel(across)
    axes.set_ylabel("density")
    columns = len(axes.get_legend_handles_labels()[1])
    axes.legend(
        frameon=False, fontsize="small", ncols=columns, loc="lower center", bbox_to_anchor=(0.5, 1.0),
        columnspacing=1.0, handlelength=1.2, handletextpad=0.5,
    )  # fmt: skip
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    # text as text, so that the page's own font and both color schemes apply
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    # black is matplotlib's unwritten default for text: say it, so that it follows the page
    return re.sub(r"<text (style=\"[^\"]*)\"", r'<text \1; fill: currentColor"', svg)
