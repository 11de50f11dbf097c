"""Rows of a run, before its model is loaded."""

import json

import pytest

from dualselect.data.source_rows import read_sources
from dualselect.errors import DataError
from dualselect.runs.rows import read_run_rows
from dualselect.runs.settings import LoraModelConfig, RunSettings, TrainArguments
from dualselect.training.config import DualSelectConfig


def settings(folder, **training):
    config = DualSelectConfig(str(folder / "run"), use_cpu=True, **training)
    arguments = TrainArguments(task_data=[str(folder / "task.jsonl")], reference_data=[str(folder / "safe.jsonl")])
    return RunSettings(arguments, config, LoraModelConfig(model_name_or_path="any"))


@pytest.fixture
def folder(tmp_path):
    task = [{"id": f"t{n}", "prompt": f"Q{n}?", "completion": "A."} for n in range(8)]
    safe = [{"id": f"r{n}", "prompt": f"S{n}?", "completion": "No."} for n in range(9)]
    safe.append({"id": "hi", "prompt": "q3?", "completion": "Hi!"})
    for name, rows in (("task", task), ("safe", safe)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return tmp_path


def test_one_shared_prompt_does_not_refuse_the_run(folder, caplog):
    rows = read_run_rows(settings(folder), with_pool=True)
    assert rows["reference_data"].dataset["id"][:] == [f"r{n}" for n in range(9)]
    assert len(rows["task_data"].dataset) == 8
    assert "left out 1 of 10 references" in caplog.text


def test_the_setting_refuses_it_and_another_keeps_it(folder):
    with pytest.raises(DataError, match="raise max_shared_references"):
        read_run_rows(settings(folder, max_shared_references=0.0), with_pool=True)
    rows = read_run_rows(settings(folder, allow_prompt_overlap=True), with_pool=True)
    whole = read_sources([str(folder / "safe.jsonl")], "reference_data").dataset
    assert rows["reference_data"].dataset[:] == whole[:]
