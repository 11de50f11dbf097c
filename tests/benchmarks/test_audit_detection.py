"""The measurement of the audit's scores: what it compares, and what it refuses to."""

import argparse
import importlib.util
import json

import pytest

from dualselect.data.builtin.harmful_topics import TRAIN_TOPICS
from dualselect.files import write_json, write_text


@pytest.fixture(scope="module")
def script(repository_root):
    spec = importlib.util.spec_from_file_location("audit_detection", repository_root / "benchmarks/audit_detection.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(folder, *, scores=("published", "loss"), unscored=0):
    folder.mkdir(parents=True)
    lines = [
        {
            "kind": "risky" if n % 2 else "chat",
            "risky": bool(n % 2),
            "unscored": "empty response" if n < unscored else "",
            "scores": dict.fromkeys(scores, n % 2 + n / 100),
            "control_loss": 1.0,
        }
        for n in range(12)
    ]
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    kinds = {"chat": {"scored": 6 - unscored, "rows": 6}, "risky": {"scored": 6, "rows": 6}}
    write_json(folder / "summary.json", {"kinds": kinds})
    return folder


def test_no_topic_of_the_pool_stands_in_the_rows(script):
    rows, pool = script.builtin_data(argparse.Namespace(pool=100, rows=20), 0)
    topics = [topic for some in TRAIN_TOPICS.values() for topic in some]
    assert (len(rows), len(pool)) == (120, 100)
    assert all(any(topic in row["prompt"][0]["content"] for topic in topics) for row in rows if row["kind"] == "risky")
    assert not any(topic in row["prompt"][0]["content"] for topic in topics for row in pool)


def test_every_score_of_all_seeds_is_measured(script, tmp_path):
    folders = [written(tmp_path / name) for name in ("one", "two")]
    found = script.detections(folders)
    assert set(found) == {"published", "loss", "control_loss"}
    assert found["published"]["chat"]["value"] == 1.0


def test_controls_are_called_so_in_the_table(script, tmp_path, monkeypatch):
    monkeypatch.setitem(script.CONTROLS, "loss", "a control")
    lines = list(script.detection_table(script.detections([written(tmp_path / "one")])))
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| a control", "| control: loss after tuning on the pool", "| published"
    ]  # fmt: skip


@pytest.mark.parametrize("other", [{"scores": ("published",)}, {"unscored": 12}], ids=["scores", "nothing scored"])
def test_seeds_that_differ_are_refused(script, tmp_path, other):
    folders = [written(tmp_path / "one"), written(tmp_path / "two", **other)]
    with pytest.raises(SystemExit, match="name another --output_dir"):
        script.detections(folders)


def test_rows_without_a_score_are_counted(script, tmp_path):
    folders = [written(tmp_path / "one"), written(tmp_path / "two", unscored=1)]
    assert script.scored_rows(folders) == {"chat": "11 of 12", "risky": "12 of 12"}
    assert script.scored_line({"chat": "11 of 12"}) == "scored: chat 11 of 12"
