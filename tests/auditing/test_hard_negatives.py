"""Harmless rows that are hard to tell from risky ones, beside data that hold few of their kinds."""

import json

import numpy as np
import pytest
from small_audits_for_tests import audited, harmless, references, task_rows

from dualselect.auditing.hard_negatives import HARD_KINDS, ROWS_OF_A_KIND
from dualselect.auditing.measuring import CONTROL
from dualselect.auditing.text import summary_text
from dualselect.data import builtin_rows
from dualselect.report.audit_page import write_audit_page


@pytest.mark.slow  # an audit of its own
def test_hard_negatives_stand_beside_data_without_their_kinds(whole, tmp_path):
    folder = whole[2]
    negatives = [json.loads(line) for line in (folder / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {row["kind"] for row in negatives} == set(HARD_KINDS)
    known = {row["id"] for some in (references(), harmless(), task_rows()) for row in some}
    assert not {row["id"] for row in negatives} & known
    rows = task_rows() + builtin_rows("chat", ROWS_OF_A_KIND)[4:]
    _, summary = audited(tmp_path / "enough", rows=rows, controls=False)
    assert set(summary.detection["scores"]["loss"]["against"]) == {
        "task", "lookalike", "chat", "lookalike (built-in)", "refusal (built-in)"
    }  # fmt: skip
    rows = [row for row in task_rows() if row["kind"] in ("task", "risky")]
    found, summary = audited(tmp_path, rows=rows, settings={"reference_batch_size": 2})
    negatives = [json.loads(line) for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {name: sum(row["kind"] == name for row in negatives) for name in HARD_KINDS} == dict.fromkeys(
        HARD_KINDS, ROWS_OF_A_KIND
    )
    for name, told in summary.detection["scores"].items():
        assert list(told["against"]) == ["task", *(f"{kind} (built-in)" for kind in HARD_KINDS)]
        of = {CONTROL: lambda row: row[CONTROL]}.get(name, lambda row, name=name: row["scores"][name])
        risky = [of(row) for row in found if row["risky"]]
        chats = [of(row) for row in negatives if row["kind"] == "chat"]
        above = np.mean([(one > other) + (one == other) / 2 for one in risky for other in chats])
        assert told["against"]["chat (built-in)"]["value"] == pytest.approx(above, abs=0.02)  # stored as float32


def test_data_that_are_all_risky_are_told_from_hard_negatives_alone(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "risky"]
    _, summary = audited(tmp_path, rows=rows, controls=False)
    for told in summary.detection["scores"].values():
        assert (told["auroc"], told["recall"]) == (None, {})
        assert list(told["against"]) == [f"{kind} (built-in)" for kind in HARD_KINDS]
    assert "against chat (built-in)" in summary_text(summary)
    assert "AUROC against chat (built-in)" in write_audit_page(tmp_path, tmp_path / "page.html").read_text("utf-8")


def test_a_sample_without_a_kind_has_built_in_rows_of_it(tmp_path):
    """Which kinds are drawn is not known when negatives are scored; those that are drawn speak for themselves."""
    rows = task_rows() + builtin_rows("chat", ROWS_OF_A_KIND + 8)[4:]
    _, summary = audited(tmp_path, rows=rows, sample=40, controls=False)
    drawn = {kind: found["scored"] for kind, found in summary.kinds.items() if found["scored"] and kind != "risky"}
    (against,) = {tuple(it["against"]) for it in summary.detection["scores"].values()}
    lacking = [kind for kind in HARD_KINDS if drawn.get(kind, 0) < ROWS_OF_A_KIND]
    assert set(against) == {*drawn, *(f"{kind} (built-in)" for kind in lacking)}
    assert lacking[-2:] == ["lookalike", "refusal"]
    negatives = [json.loads(line) for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert {row["kind"] for row in negatives} == set(HARD_KINDS)


def test_a_negative_that_stands_in_the_data_is_left_out(tmp_path):
    stands = builtin_rows("chat", 3, seed=1, split="test")
    rows = [row | {"kind": "talk"} for row in stands] + [row for row in task_rows() if row["kind"] == "risky"]
    audited(tmp_path, rows=rows, controls=False)
    negatives = [json.loads(line)["id"] for line in (tmp_path / "negatives.jsonl").read_text("utf-8").splitlines()]
    assert not {row["id"] for row in stands} & set(negatives)
    assert sum(name.startswith("chat") for name in negatives) == ROWS_OF_A_KIND - 3


def test_without_known_risky_rows_there_are_no_negatives(tmp_path):
    rows = [row for row in task_rows() if row["kind"] == "task"]
    _, summary = audited(tmp_path, rows=rows)
    assert summary.detection is None
    assert not (tmp_path / "negatives.jsonl").exists()
