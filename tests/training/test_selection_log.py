import pytest

from dualselect.errors import ResumeError
from dualselect.training.selection_log import SelectionLog


def filled(folder):
    log = SelectionLog(folder / "run")
    for step in (1, 2, 2, 3):
        log.append("step", step, ids=["a\u2028b", "\ud800"])
    return log


def test_lines_come_back_in_order_whatever_the_ids_hold(tmp_path):
    log = filled(tmp_path)
    assert [line["step"] for line in log.read()] == [1, 2, 2, 3]
    assert log.read()[0]["ids"] == ["a\u2028b", "\ud800"]


def test_a_line_that_was_cut_off_is_no_line(tmp_path):
    log = filled(tmp_path)
    with log.path.open("a") as file:
        file.write('{"event": "st')
    assert len(log.read()) == 4


def test_a_broken_line_is_named(tmp_path):
    for broken in ('{"event": "st\n', "[]\n", '{"step": 1}\n', "\udcff\n"):
        log = filled(tmp_path / str(len(broken)))
        with log.path.open("a", errors="surrogateescape") as file:
            file.write(broken)
        with pytest.raises(ResumeError, match=r"selection.jsonl is broken in line 5"):
            log.read()
