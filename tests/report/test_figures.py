"""The figures: the same bytes each time, and names that are text and nothing else."""

import pytest
from runs_for_tests import NASTY

from dualselect.report import figures
from dualselect.report.headline import Cell


CELL = Cell(50.0, 40.0, 60.0, 20, 0, percent=True, higher_is_better=True)
CURVE = {NASTY: [(1, 1.0), (2, 0.5)], "$x_1$": [(1, 2.0), (2, 1.5)]}


def drawings():
    yield figures.lines(CURVE, across="step", up="loss", steps=[(1, 0.7)])
    yield figures.histogram({NASTY: [0.1, 0.2]}, across="cosine", line_at=0.1)
    yield figures.intervals({NASTY: {"a": CELL}, "$b$": {}}, ["a", NASTY], across="rate")
    yield figures.trade_off({NASTY: (CELL, CELL)}, across="utility", up="safety")
    yield figures.timeline([2, 5], [{NASTY: 0.5}, {"b": 1.0}], [None, 0.3])
    yield figures.counted_histogram({NASTY: {-0.1: 3, 0.1: 1}}, 0.1, across="cosine", line_at=0.0)


@pytest.mark.filterwarnings("error")  # of matplotlib, when labels leave no room for the drawing
def test_names_are_text():
    for drawing in drawings():
        assert "&lt;/script&gt;" in drawing
        assert not any(unsafe in drawing for unsafe in ("<script", "<img", "\u202e", "\x1b", "\ud800"))


def test_drawing_again_gives_the_same_bytes_without_names_of_parts():
    assert list(drawings()) == list(drawings())
    assert all(' id="axes_1"' not in drawing for drawing in drawings())


def test_text_and_axes_follow_the_color_scheme():
    for drawing in drawings():
        assert "#000000" not in drawing
        assert drawing.count("<text ") == drawing.count('fill: currentColor"')


def test_a_map_says_percent_and_names_are_text_in_it():
    drawing = figures.heat_map([NASTY, "b"], ["c"], [[0.25], [1.0]], label="rows, %")
    assert "&lt;/script&gt;" in drawing
    assert "<script" not in drawing
    assert all(f">{percent}<" in drawing for percent in (25, 50, 100))


def test_many_bins_are_joined_and_few_are_not(monkeypatch):
    edges = []
    monkeypatch.setattr("matplotlib.axes.Axes.stairs", lambda _, heights, at, **style: edges.append(at))
    for bins in (24, 100):
        figures.counted_histogram({"a": {place / 100: 1 for place in range(bins)}}, 0.01, across="x", line_at=None)
    assert [len(at) - 1 for at in edges] == [24, 20]


def test_ticks_of_budgets_are_tens():
    drawing = figures.lines({"a": [(50, 1.0), (99, 2.0)]}, across="budget", up="kept")
    assert all(f">{tick}<" in drawing for tick in (50, 60, 70, 80, 90))


def test_more_curves_than_colors_differ_in_dashes():
    drawing = figures.lines({f"run {n}": [(1, n), (2, n)] for n in range(8)}, across="step", up="loss")
    assert drawing.count("stroke-dasharray") == 2
    assert "╍" in drawing


def test_long_curves_are_thinned_to_means():
    points = [(step, float(step % 2)) for step in range(1, 1001)]
    thinned = figures._thinned(points)
    assert len(thinned) <= figures.MOST_POINTS
    assert thinned[0] == (4.0, 4 / 7)
    assert figures._thinned(points[:5]) == points[:5]
