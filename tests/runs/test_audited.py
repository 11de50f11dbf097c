"""`train --audit`: what an audit found in conflict is left out, and nothing else."""

import json
import logging

import pytest
from datasets import Dataset
from rows_for_tests import conversation_rows

from dualselect.data.source_rows import SourceRows
from dualselect.errors import DataError
from dualselect.runs.audited import with_audit, without_conflicts
from dualselect.runs.settings import LoraModelConfig, RunSettings, TrainArguments
from dualselect.training.config import DualSelectConfig


def audit_in(folder, ids, conflict, *, sample=False, unscored=()):
    folder.mkdir(exist_ok=True)
    (folder / "summary.json").write_text(json.dumps({"data": {"sample": sample}}))
    lines = [
        {"id": name, "conflict": None if name in unscored else name in conflict, "unscored": "x" * (name in unscored)}
        for name in ids
    ]
    (folder / "audit.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def task(count=6):
    rows = Dataset.from_list([{"id": row["id"], "prompt": "p", "completion": "c"} for row in conversation_rows(count)])
    return SourceRows(["file"], rows, [], [])


def test_rows_in_conflict_are_left_out_and_rows_that_were_not_scored_stay(tmp_path, caplog):
    folder = audit_in(tmp_path / "a", [f"t{n}" for n in range(6)], {"t1", "t4"}, unscored={"t2"})
    with caplog.at_level(logging.INFO):
        kept = without_conflicts(task(), folder).dataset["id"]
    assert list(kept) == ["t0", "t2", "t3", "t5"]
    assert "2 of 6 task rows are in conflict and left out; 1 could not be scored" in caplog.text


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        (range(5), {}, "1 task rows are not in the audit"),
        (range(7), {}, "the audit has 7 rows, the task data 6"),
        (range(6), {"sample": True}, "scored a sample"),
    ],
)
def test_another_audit_is_refused(tmp_path, ids, options, message):
    folder = audit_in(tmp_path / "a", [f"t{n}" for n in ids], set(), **options)
    with pytest.raises(DataError, match=message):
        without_conflicts(task(), folder)


def test_an_audit_that_drops_everything_is_refused(tmp_path):
    folder = audit_in(tmp_path / "a", [f"t{n}" for n in range(6)], {f"t{n}" for n in range(6)})
    with pytest.raises(DataError, match="all 6 rows are in conflict"):
        without_conflicts(task(), folder)


def test_no_audit_is_told(tmp_path):
    with pytest.raises(DataError, match="no finished audit there: run dualselect audit"):
        without_conflicts(task(), tmp_path)


def test_the_run_drops_nothing_itself(tmp_path):
    training = DualSelectConfig(str(tmp_path), task_token_budget="auto", reference_contrast="compliance")
    settings = RunSettings(TrainArguments(audit="a"), training, LoraModelConfig())
    assert with_audit(settings).training.task_token_share == 1.0
    assert training.task_token_budget == "auto"
    assert with_audit(RunSettings(TrainArguments(), training, LoraModelConfig())).training is training
