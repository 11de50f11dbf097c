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


def test_what_a_checkpoint_does_not_know_is_dropped(tmp_path):
    log = filled(tmp_path)
    log.cut_after(2)
    assert [line["step"] for line in log.read()] == [1, 2, 2]
    log.cut_after(0)
    assert log.read() == []


def test_a_line_that_was_cut_off_is_no_line(tmp_path):
    log = filled(tmp_path)
    with log.path.open("a") as file:
        file.write('{"event": "st')
    assert len(log.read()) == 4
    log.cut_after(3)
    log.append("step", 4)
    assert [line["step"] for line in log.read()] == [1, 2, 2, 3, 4]


def test_cutting_a_log_that_is_not_there_writes_nothing(tmp_path):
    SelectionLog(tmp_path / "run").cut_after(3)
    assert not (tmp_path / "run").exists()
