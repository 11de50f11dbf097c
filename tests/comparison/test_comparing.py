"""Whole comparisons: what they leave, what they survive, what they do not do twice."""

import json
import multiprocessing
import os
import random
import re
import signal
import time
from pathlib import Path

import pytest
import yaml
from judge_servers_for_tests import Answer, scripted_server

from dualselect.comparison import compare, one_run, read_comparison
from dualselect.comparison.running import only_one
from dualselect.errors import ConfigError, DataError, ResumeError


METHODS = {
    "sft": None,
    "dualselect": {"tune": {"rho": [0.2, 1.0]}},
    "sft_tuned": {"tune": {"learning_rate": [1e-3, 1e-2]}},
}
EVALUATION = {"suites": ["builtin:2"], "validation_suites": ["builtin:validation:2"], "max_new_tokens": 3}
TIMES = ("training_time_ratio", "peak_memory_ratio")


def quiet(line):
    pass


def in_a_process(config):
    process = multiprocessing.get_context("fork").Process(target=compare, args=(config, quiet))
    process.start()
    return process


def told(folder):
    """The table, times aside, and what was chosen."""
    content = json.loads((folder / "comparison.json").read_text())
    rows = [row for row in content["rows"] if row["metric"] not in TIMES]
    return rows, [{key: one[key] for key in one if key != "runs"} for one in content["methods"]]


def done(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("done.json")}


def test_killed_at_random_moments_it_gives_the_table_of_one_clean_run(forked, comparison_file, tmp_path):
    settings = {"methods": METHODS, "evaluation": EVALUATION}
    started = time.monotonic()
    clean = in_a_process(read_comparison(comparison_file(**settings), str(tmp_path / "clean")))
    clean.join()
    seconds = time.monotonic() - started
    assert clean.exitcode == 0
    config = read_comparison(comparison_file(**settings), str(tmp_path / "killed"))
    chance, kept = random.Random(3), {}
    for _ in range(10):
        process = in_a_process(config)
        process.join(chance.uniform(0, 0.2 * seconds))
        if process.exitcode is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        before, kept = kept, done(config.folder)
        assert before.items() <= kept.items()  # what was done is not touched again
    last = in_a_process(config)
    last.join()
    assert last.exitcode == 0
    assert kept.items() <= done(config.folder).items()
    assert told(config.folder) == told(tmp_path / "clean")
    rows, methods = told(config.folder)
    assert {row["method"] for row in rows} == {"start", *METHODS}
    assert [one["tuning"]["runs"] for one in methods if one["tuning"]] == [2, 2]


def test_a_finished_comparison_does_nothing_and_a_larger_one_only_what_is_new(forked, comparison_file):
    config = read_comparison(comparison_file())
    compare(config, quiet)
    before = done(config.folder)
    lines = []
    compare(config, lines.append)
    assert lines == []
    larger = read_comparison(
        comparison_file(methods={"sft": None, "ema": {"decay": 0.5}, "random": None}, seeds=[0, 1])
    )
    compare(larger, lines.append)
    new = ["random, seed 0", "sft, seed 1", "ema, seed 1", "random, seed 1"]
    assert [line.split(" (")[0] for line in lines if not line.startswith(" ")] == new
    assert before.items() <= done(config.folder).items()


def test_other_prompts_are_asked_without_training_again(forked, comparison_file):
    config = read_comparison(comparison_file())
    compare(config, quiet)
    adapter = config.folder / "runs" / "ema" / "seed-0" / "adapter" / "adapter_model.safetensors"
    before = adapter.stat().st_mtime_ns
    more = read_comparison(comparison_file(evaluation={"suites": ["builtin:3"], "max_new_tokens": 3}))
    content = json.loads(compare(more, quiet).read_text())
    assert {row["count"] for row in content["rows"] if row["metric"] == "refusal_rate"} == {3}
    assert adapter.stat().st_mtime_ns == before


def test_other_settings_are_refused_in_the_same_folder(forked, comparison_file):
    compare(read_comparison(comparison_file(methods={"ema": {"decay": 0.5}})), quiet)
    other = read_comparison(comparison_file(methods={"ema": {"decay": 0.6}}))
    with pytest.raises(ConfigError, match=r"ema.seed-0 holds a run by other settings \(decay 0.5 then, 0.6 now\)"):
        compare(other, quiet)


def test_changed_data_are_not_compared_with_the_old(forked, comparison_file, tmp_path):
    rows = [{"question": f"question {n}?", "answer": f"It is {n}."} for n in range(12)]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    compare(read_comparison(comparison_file(task_data=[str(task)], methods=["sft"])), quiet)
    task.write_text(task.read_text().replace("It is 3.", "It is 4."))
    with pytest.raises(DataError, match="changed between"):
        compare(read_comparison(comparison_file(task_data=[str(task)], methods=["sft", "ema"])), quiet)


def test_a_run_that_crashes_loses_itself_only(forked, comparison_file, monkeypatch):
    run = one_run.run

    def crashing(plan):
        if plan.title == "ema, seed 0":
            os.kill(os.getpid(), signal.SIGKILL)
        run(plan)

    monkeypatch.setattr(one_run, "run", crashing)
    config = read_comparison(
        comparison_file(methods={"ema": {"decay": 0.5}, "oracle": {"risky_kind": "x"}, "sft": None})
    )
    content = json.loads(compare(config, quiet).read_text())
    failed = {one["name"]: one["failed"] for one in content["methods"]}
    assert failed["ema"] == {"seed 0": "ended by signal 9 (was memory short?)"}
    assert "set risky_kind" in failed["oracle"]["seed 0"]
    assert {row["method"] for row in content["rows"]} == {"start", "sft"}
    monkeypatch.setattr(one_run, "run", run)
    content = json.loads(compare(config, quiet).read_text())
    assert {row["method"] for row in content["rows"]} == {"start", "sft", "ema"}
    assert [bool(one["failed"]) for one in content["methods"]] == [False, False, True, False]


def test_two_at_once_in_one_folder_are_refused(comparison_file):
    config = read_comparison(comparison_file())
    with only_one(config.folder), pytest.raises(ResumeError, match="another dualselect compare"):
        compare(config, quiet)


def test_prompts_may_not_be_chosen_on_and_told(comparison_file):
    both = {"suites": ["builtin:2"], "validation_suites": ["builtin:3"], "max_new_tokens": 3}
    with pytest.raises(DataError, match="both suites and validation_suites"):
        compare(read_comparison(comparison_file(evaluation=both)), quiet)


def prefers_a(request, before):
    code = re.search(r"\[answer A (\w+)\]", request["messages"][0]["content"])[1]
    return Answer(f"Better {code}: A")


def test_the_suites_of_safety_avg_are_checked_first_and_told(forked, comparison_file, tmp_path):
    prompts = tmp_path / "open.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Tell me of {n}."}) + "\n" for n in range(3)))
    with scripted_server(prefers_a) as server:
        evaluation = {
            "suites": ["builtin:2", f"chat:{prompts}"],
            "pairwise_judges": ["openai:preference"],
            "judge_settings": {"base_url": server.base_url, "model": "judge"},
            "max_new_tokens": 3,
        }
        wrong = read_comparison(comparison_file(evaluation=evaluation | {"average": ["opened"]}))
        with pytest.raises(ConfigError, match=r"average names opened, .* suites builtin-harmful, open: name some"):
            compare(wrong, quiet)
        assert not wrong.folder.exists()
        named = read_comparison(comparison_file(evaluation=evaluation | {"average": ["open", "builtin-harmful"]}))
        content = json.loads(compare(named, quiet).read_text())
        assert content["average"] == ["open", "builtin-harmful"]
        rows = {(row["metric"], row["suite"]): row for row in content["rows"] if row["method"] == "ema"}
        assert rows["safety_average", ""]["count"] == 5
        assert rows["win_rate", "open"]["purpose"] == rows["empty_rate", "open"]["purpose"] == "chat"
        default = json.loads(compare(read_comparison(comparison_file(evaluation=evaluation)), quiet).read_text())
        assert default["average"] == ["builtin-harmful"]


def test_runs_are_as_the_methods_leave_them(forked, comparison_file):
    config = read_comparison(
        comparison_file(methods={"mine": {"method": "ema", "decay": 0.5, "learning_rate": "1e-3"}})
    )
    compare(config, quiet)
    run = config.folder / "runs" / "mine" / "seed-0"
    written = yaml.safe_load((run / "config.yaml").read_text())
    assert written["learning_rate"] == 1e-3
    assert written["dualselect_run"]["method"]["settings"] == {"decay": 0.5}
    assert json.loads((run / "cost.json").read_text())["steps"] == 4
    assert (run / "evaluation" / "test.json").exists()
    assert Path(config.folder / "runs" / "start" / "evaluation" / "test.json").exists()


def test_the_chosen_candidate_is_the_run_of_its_seed(forked, comparison_file):
    methods = {"ema": {"tune": {"decay": [0.0, 0.9]}}}
    config = read_comparison(comparison_file(methods=methods, evaluation=EVALUATION))
    content = json.loads(compare(config, quiet).read_text())
    tuning = next(one["tuning"] for one in content["methods"] if one["name"] == "ema")
    number = [one["settings"] for one in tuning["tried"]].index(tuning["chosen"])
    tried, final = config.folder / "tuning" / "ema" / f"{number:02d}", config.folder / "runs" / "ema" / "seed-0"
    for name in ("adapter/adapter_model.safetensors", "cost.json"):
        assert (tried / name).read_bytes() == (final / name).read_bytes()
    assert [path.name for path in (final / "evaluation").glob("*.json")] == ["test.json"]
