"""The texts of a run's rows, as long as its data are the same."""

import yaml

from dualselect.data.source_rows import read_sources
from dualselect.report.texts import row_texts
from dualselect.runs.record import data_record
from dualselect.system.files import write_text


def made(run, *sources):
    """A config.yaml as training leaves it, as far as the texts need it."""
    rows = read_sources(sources, "task_data")
    record = {"data": {"task_data": {"sources": rows.sources} | data_record(rows.dataset, rows.files)}}
    write_text(run / "config.yaml", yaml.safe_dump({"task_data": rows.sources, "dualselect_run": record}))
    return run


def test_rows_are_found_by_id(tmp_path):
    write_text(tmp_path / "task.jsonl", '{"id": "a", "prompt": "asked", "completion": "answered"}\n')
    found = row_texts(made(tmp_path / "run", str(tmp_path / "task.jsonl"), "builtin:task:3"))
    assert found.missing == []
    assert found.texts["task_data"]["a"] == ("asked", "answered")
    assert len(found.texts["task_data"]) == 4


def test_changed_or_missing_data_give_no_texts_and_say_why(tmp_path):
    data = tmp_path / "task.jsonl"
    write_text(data, '{"id": "a", "prompt": "asked", "completion": "answered"}\n')
    run = made(tmp_path / "run", str(data))
    write_text(data, '{"id": "a", "prompt": "asked", "completion": "another"}\n')
    found = row_texts(run)
    assert found.texts == {}
    assert "changed since the run" in found.missing[0]
    data.unlink()
    assert "file not found" in row_texts(run).missing[0]


def test_a_hub_is_not_asked(tmp_path):
    record = {"data": {"task_data": {"sources": ["owner/name"], "rows": 1, "rows_sha256": "0", "files": {}}}}
    write_text(tmp_path / "config.yaml", yaml.safe_dump({"task_data": ["owner/name"], "dualselect_run": record}))
    assert row_texts(tmp_path).missing == ["task_data: owner/name is on a hub, and reports do not access the network"]


def test_a_run_without_its_settings_says_so(tmp_path):
    assert row_texts(tmp_path).missing == ["the run has no config.yaml that names its data"]
    write_text(tmp_path / "config.yaml", "no_setting: 1\n")
    assert "no_setting is not a setting" in row_texts(tmp_path).missing[0]
