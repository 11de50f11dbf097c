"""Tables in which no cell acts: not on the terminal, not in a spreadsheet."""

import csv
import io

import pytest

from dualselect.system.tables import aligned, csv_text


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-cmd|' /C calc'!A0", "@SUM(A1)", "\tx", " =1", "\uff1d1"])
def test_text_that_a_spreadsheet_would_run_is_quoted(text):
    assert list(csv.reader(io.StringIO(csv_text([["id", text]]), newline=""))) == [["id", f"'{text}"]]


@pytest.mark.parametrize("cell", [-0.5, -3, "-0.5", "+1e-3", None, "", "plain", "a=b", "t-1", True])
def test_numbers_and_plain_text_stay(cell):
    assert next(csv.reader([csv_text([[cell, "x"]])])) == ["" if cell is None else str(cell), "x"]


def test_a_control_character_neither_acts_nor_breaks_a_line_of_csv():
    assert csv_text([["a\r=1\x1b[2J", "x"]]) == "a[U+000D]=1[U+001B][2J,x\n"


def test_cells_of_a_terminal_are_visible_and_on_one_line():
    lines = aligned([["kind", "n"], ["a\x1b]0;title\x07\nerror: b\u202e", "1"]]).splitlines()
    assert lines[0].split() == ["kind", "n"]
    assert lines[1] == "a[U+001B]]0;title[U+0007] error: b[U+202E]  1"
