"""The measurement of the audit's scores: what it compares, and what it refuses to."""

import argparse
import importlib.util
import json
from collections import Counter

import pytest

from dualselect.data.builtin.harmful_topics import TRAIN_TOPICS
from dualselect.system.files import write_json, write_text


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


def test_negatives_stand_beside_the_rows_and_not_among_all(script, tmp_path):
    folder = written(tmp_path / "one")
    negative = {"id": "n", "kind": "chat", "scores": {"published": 9.0, "loss": 9.0}, "control_loss": 9.0}
    write_text(folder / "negatives.jsonl", json.dumps(negative) + "\n")
    found = script.detections([folder])["published"]
    assert list(found) == ["all", "recall", "chat", "chat (built-in)"]
    assert (found["all"]["value"], found["all"]["count"]) == (1.0, 12)
    assert found["chat (built-in)"]["value"] == 0.0


def test_kinds_of_risky_rows_are_looked_for_apart(script, tmp_path):
    folder = written(tmp_path / "one")
    lines = [json.loads(line) for line in (folder / "audit.jsonl").read_text("utf-8").splitlines()]
    for line in lines[:6]:
        line["kind"] = line["kind"].replace("risky", "rejected")
        line["scores"]["loss"] = -line["scores"]["loss"]
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert script.detections([folder], "risky")["loss"]["chat"]["value"] == 1.0
    assert script.detections([folder], "rejected")["loss"]["chat"]["value"] == 0.0
    assert script.detections([folder], "rejected")["loss"]["all"]["count"] == 9


def test_what_budgets_drop_is_counted_and_has_intervals(script, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    lines = [
        {
            "kind": "risky" if n < 4 else "task", "unscored": "", "tokens": 10, "conflict": n < 5,
            "kept": {"0.9": n != 9},
        }
        for n in range(10)
    ]  # fmt: skip
    write_text(folder / "audit.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_json(folder / "summary.json", {"recommended_budget": {"kept_share": 0.5}})
    found = script.budget_of(folder)
    assert found == {
        "auto: tokens kept": 0.5, "harmless tokens": 0.6, "auto: risky dropped": [4, 4],
        "auto: harmless dropped": [1, 6], "fixed 0.90: risky dropped": [0, 4], "fixed 0.90: harmless dropped": [1, 6],
    }  # fmt: skip
    nothing = found | {"auto: risky dropped": [0, 0]}
    lines = list(script.budget_table({"0.4": {"0": found, "1": found}, "0": {"0": nothing}}))
    assert lines[2].startswith("| 40% | 0.50 | 0.60 | 1.00 [0.68, 1.00] | 0.17 [0.05, 0.45] | 0.00 [")
    assert lines[3].startswith("| 0% | 0.50 | 0.60 |  | ")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_a_share_of_risky_rows_is_that_share(script, share):
    rows, pool = script.share_data(argparse.Namespace(pool=20, rows=50), 0, share)
    kinds = [row["kind"] for row in rows]
    assert (len(rows), kinds.count("risky"), len(pool)) == (200, 200 * share, 20)
    assert kinds.count("chat") == kinds.count("lookalike") > 0


@pytest.fixture
def given(repository_root, tmp_path):
    """Pairs and problems as the published files hold them."""
    pairs = [
        {
            "chosen": f"\n\nHuman: asks {n}\n\nAssistant: no {n}",
            "rejected": f"\n\nHuman: asks {n}\n\nAssistant: yes {n}",
        }
        for n in range(60)
    ]
    problems = [{"question": f"how many {n}", "answer": f"#### {n}"} for n in range(60)]
    for name, some in {"hh": pairs, "gsm8k": problems}.items():
        write_text(tmp_path / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in some))
    return argparse.Namespace(hh=tmp_path / "hh.jsonl", gsm8k=tmp_path / "gsm8k.jsonl", rows=4, pool=8)


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        ("hh", {"task": 16, "risky": 4, "chosen": 4}),
        ("mixed", {"risky": 4, "task": 4, "rejected": 4, "chosen": 4}),
    ],
)
def test_no_prompt_of_a_seed_stands_in_its_pool_or_in_another_seed(script, given, data, kinds):
    seen = set()
    for seed in (0, 1):
        rows, pool = script.DATA[data](given, seed)
        assert Counter(row["kind"] for row in rows) == kinds
        assert len(pool) == 8
        prompts = [row["prompt"][-1]["content"] for row in [*rows, *pool]]
        assert len(set(prompts)) == len(prompts)
        of_files = {prompt for prompt in prompts if prompt.startswith(("asks", "how many"))}
        assert len(of_files) >= 8
        assert not of_files & seen
        seen |= of_files
        answers = {row["kind"]: row["completion"][0]["content"] for row in rows}
        risky = answers["rejected" if data == "mixed" else "risky"]
        assert risky.startswith("yes")
        assert answers["chosen"].startswith("no")


@pytest.mark.parametrize("other", [{"scores": ("published",)}, {"unscored": 12}], ids=["scores", "nothing scored"])
def test_seeds_that_differ_are_refused(script, tmp_path, other):
    folders = [written(tmp_path / "one"), written(tmp_path / "two", **other)]
    with pytest.raises(SystemExit, match="name another --output_dir"):
        script.detections(folders)


def test_rows_without_a_score_are_counted(script, tmp_path):
    folders = [written(tmp_path / "one"), written(tmp_path / "two", unscored=1)]
    assert script.scored_rows(folders) == {"chat": "11 of 12", "risky": "12 of 12"}
    assert script.scored_line({"chat": "11 of 12"}) == "scored: chat 11 of 12"
