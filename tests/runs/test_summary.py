"""The last words of a run, read from its selection log."""

from dualselect.runs.directory import RunDirectory
from dualselect.runs.summary import KindCount, count_kinds, summarize
from dualselect.training.selection_log import SelectionLog


def test_dropped_rows_are_counted_by_kind_and_warm_up_drops_none(tmp_path):
    log = SelectionLog(tmp_path)
    log.append("warmup", 1, ids=["a", "b"], kinds=["task", "risky"])
    log.append("refresh", 2, ids=["r"], kept=[True])
    log.append(
        "step", 2, ids=["a", "b", "c"], kinds=["task", "risky", "risky"], kept=[True, False, True], tokens=[5, 3, 2]
    )
    log.append("step", 3, ids=["a", "b"], kinds=["task", "risky"], kept=[True, False], tokens=[5, 5])
    summary = summarize(RunDirectory(tmp_path), planned_steps=3, seconds=61)
    assert summary.kinds == [KindCount("risky", 3, 2), KindCount("task", 2, 0)]
    assert (summary.steps, summary.warmup_steps, summary.refreshes) == (3, 1, 1)
    assert summary.dropped_token_fraction == 8 / 20
    told = summary.describe()
    assert "40.0% of the supervised tokens offered were dropped" in told
    assert "3 of 3 optimizer steps (1 warm-up)" in told
    assert "1 min 1 s" in told
    assert "66.7%" in told


def test_rows_without_a_kind_are_one_kind():
    lines = [{"event": "step", "ids": ["a", "b"], "kept": [True, False]}]
    assert count_kinds(lines) == [KindCount("(no kind)", 2, 1)]
