"""The figure of a diagnostic: overlap, categories, probes. It has the width of a two-column page."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dualselect.system.files import write_atomically


FORMATS = {"svg": ["Date"], "pdf": ["CreationDate"]}
"""Formats of the figure, and the metadata that is omitted to make files reproducible."""
# keep text as text in SVG, do not parse $ as math, and make the output deterministic
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dualselect",
    "pdf.fonttype": 42,
    "text.parse_math": False,
    "font.size": 7.5,
    "axes.titlesize": 8.5,
}
WIDTH_INCHES = 7.2
MOST_CATEGORIES = 18
# Okabe-Ito palette, safe for color-blind readers; markers distinguish series of the same color
WITHIN, ACROSS, MEDIAN, P90, GRAY = "#0072B2", "#D55E00", "#0072B2", "#E69F00", "#808080"
TITLES = {"dualselect": "dualselect", "static": "static", "periodic_random": "periodic\nrandom", "uniform": "uniform"}

Row = Mapping[str, Any]


def write_figure(content: Mapping[str, Any], folder: Path) -> None:
    """Write the figure as SVG and PDF.

    Args:
        content: Content of diagnostic.json.
        folder: Output folder.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = draw(content)
        for ending, dates in FORMATS.items():
            save = partial(figure.savefig, format=ending, metadata=dict.fromkeys(dates))
            write_atomically(folder / f"diagnostic.{ending}", save)


def draw(content: Mapping[str, Any]) -> Any:
    """Draw the figure."""
    from matplotlib.figure import Figure

    categories = min(len(content["pool"]["categories"]), MOST_CATEGORIES)
    figure = Figure(figsize=(WIDTH_INCHES, max(3.0, 1.2 + 0.15 * categories)), layout="constrained")
    groups = len({row["group"] for row in content["categories"]})
    overlap, shares, probes = figure.subplots(1, 3, width_ratios=[1.0, 0.6 + 0.12 * min(groups, 8), 1.0])
    _draw_overlap(figure, overlap, content["overlap"])
    _draw_categories(figure, shares, content["categories"])
    _draw_probes(figure, probes, content["probes"])
    for letter, axes, title in zip(
        "abc",
        (overlap, shares, probes),
        ("overlap of batches", "references by category", "held-out probes"),
        strict=True,
    ):
        axes.set_title(f"({letter}) {title}", loc="left")
    return figure


def _draw_overlap(figure: Any, axes: Any, rows: Sequence[Row]) -> None:
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    for which, color, mark, shift in (("within", WITHIN, "o", 0.16), ("across", ACROSS, "s", -0.16)):
        by_strategy = {row["strategy"]: row for row in rows if row["pairs"] == which}
        for height, name in enumerate(reversed(strategies)):
            row, at = by_strategy[name], height + shift
            axes.fill_betweenx([at - 0.12, at + 0.12], row["null_low"], row["null_high"], color=GRAY, alpha=0.35, lw=0)
            axes.plot([row["null_mean"]] * 2, [at - 0.12, at + 0.12], color=GRAY, linewidth=1)
            axes.plot(
                [row["overlap"]], [at], mark, color=color, markersize=5, label=None if height else f"{which} groups"
            )
    axes.fill_between([], [], [], color=GRAY, alpha=0.35, lw=0, label="random, 95%")
    axes.set_yticks(range(len(strategies)), [TITLES[name] for name in reversed(strategies)])
    axes.set_ylim(-0.5, len(strategies) - 0.5)
    axes.set_xlim(-0.03, 1.03)
    axes.set_xlabel("mean pairwise Jaccard index")
    _legend(figure, axes, "left", 3)


def _draw_categories(figure: Any, axes: Any, rows: Sequence[Row]) -> None:
    rows = [row for row in rows if row["strategy"] == "dualselect"]
    groups = sorted({row["group"] for row in rows})
    table = {(row["group"], row["category"]): row["share"] for row in rows}
    by_share = sorted({row["category"] for row in rows}, key=lambda name: -sum(table[group, name] for group in groups))
    shown, rest = by_share[:MOST_CATEGORIES], by_share[MOST_CATEGORIES:]
    values = [[100 * table[group, name] for group in groups] for name in shown]
    if rest:
        values.append([100 * sum(table[group, name] for name in rest) for group in groups])
        shown = [*shown, f"{len(rest)} others"]
    image = axes.imshow(values, aspect="auto", cmap="cividis", vmin=0, interpolation="none")
    axes.set_yticks(range(len(shown)), [_short(name) for name in shown])
    axes.set_xticks(range(len(groups)), [_short(name) for name in groups], rotation=90 if len(groups) > 3 else 0)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, aspect=24, pad=0.03)
    bar.set_label("% of the group's references")


def _draw_probes(figure: Any, axes: Any, rows: Sequence[Row]) -> None:
    rows = [row for row in rows if row["median"] is not None]
    for height, row in enumerate(reversed(rows)):
        for name, color, mark, shift in (("median", MEDIAN, "o", 0.13), ("p90", P90, "D", -0.13)):
            ends = [100 * row[f"{name}_{end}"] for end in ("low", "high") if row[f"{name}_{end}"] is not None]
            axes.plot(ends, [height + shift] * len(ends), color=color, linewidth=1.2)
            label = None if height else {"median": "median batch", "p90": "90th percentile"}[name]
            axes.plot([100 * row[name]], [height + shift], mark, color=color, markersize=4.5, label=label)
    axes.axvline(0, color=GRAY, linewidth=0.8)
    names = [
        f"{TITLES[row['strategy']]}, {row['correction']}".replace("\n", " ").replace(", ", "\n").replace("_", " + ")
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), list(reversed(names)))
    axes.set_ylim(-0.5, max(len(rows), 1) - 0.5)
    axes.set_xlabel("reduction of KL, %")
    _legend(figure, axes, "right", 2)


def _legend(figure: Any, axes: Any, side: str, columns: int) -> None:
    """Put the legend below all panels."""
    axes.spines[["top", "right"]].set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, names, loc=f"outside lower {side}", ncols=columns, frameon=False, handletextpad=0.3,
            columnspacing=1.0, handlelength=1.2,
        )  # fmt: skip


def _short(text: str, most: int = 20) -> str:
    text = text.replace("_", " ")
    return text if len(text) <= most else f"{text[: most - 1]}…"
