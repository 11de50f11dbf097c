"""Whole comparisons: what they leave, what they survive, what they do not do twice."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from locks_for_tests import lock_of_another_process
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.comparison import compare, read_comparison, run_process
from dualselect.errors import ConfigError, DataError, ResumeError
from dualselect.evaluation.results import read_evaluation


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


@pytest.mark.slow
def test_killed_at_random_moments_it_gives_the_table_of_one_clean_run(forked, comparison_file, tmp_path):
    settings = {"methods": METHODS, "evaluation": EVALUATION}
    started = time.monotonic()
    clean = in_a_process(read_comparison(comparison_file(**settings), str(tmp_path / "clean")))
    clean.join()
    seconds = time.monotonic() - started
    assert clean.exitcode == 0
    config = read_comparison(comparison_file(**settings), str(tmp_path / "killed"))
    chance, kept = random.Random(3), {}
    for _ in range(5):
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(ConfigError, match=r"ema.seed-0 holds a run with other settings \(decay was 0.5, now 0.6\)"):
        compare(other, quiet)


def test_a_run_that_failed_is_begun_anew_by_corrected_settings(forked, comparison_file):
    wrong = read_comparison(comparison_file(methods={"oracle": {"risky_kind": "x"}}))
    assert json.loads(compare(wrong, quiet).read_text())["methods"][1]["failed"]
    right = read_comparison(comparison_file(methods={"oracle": {"risky_kind": "risky"}}))
    oracle = json.loads(compare(right, quiet).read_text())["methods"][1]
    assert (oracle["failed"], oracle["seeds"]) == ({}, [0])
    with pytest.raises(ConfigError, match="risky_kind was .risky., now .x."):
        compare(wrong, quiet)


def test_changed_data_are_not_compared_with_the_old(forked, comparison_file, tmp_path):
    rows = [{"question": f"question {n}?", "answer": f"It is {n}."} for n in range(12)]
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps(row) + "\n" for row in rows))
    compare(read_comparison(comparison_file(task_data=[str(task)], methods=["sft"])), quiet)
    task.write_text(task.read_text().replace("It is 3.", "It is 4."))
    lines = []
    with pytest.raises(DataError, match=r"task_data changed since .*sft.seed-0 was trained"):
        compare(read_comparison(comparison_file(task_data=[str(task)], methods=["sft", "ema"])), lines.append)
    assert lines == []


def test_a_candidate_on_old_data_is_refused_before_anything_is_trained(forked, comparison_file, tmp_path):
    pool = tmp_path / "pool.jsonl"
    pool.write_text("".join(json.dumps({"prompt": f"bad {n}?", "completion": "No."}) + "\n" for n in range(6)))
    settings = {
        "methods": {"ema": {"tune": {"decay": [0.0]}}},
        "evaluation": EVALUATION,
        "reference_data": [str(pool)],
    }
    config = read_comparison(comparison_file(**settings))
    compare(config, quiet)
    pool.write_text(pool.read_text().replace("No.", "Never."))
    lines = []
    for removed, left in (("tuning", "runs.ema.seed-0"), ("runs", "tuning.ema.00")):
        (config.folder / removed).rename(tmp_path / removed)
        with pytest.raises(DataError, match=f"reference_data changed since .*{left} was trained"):
            compare(config, lines.append)
        shutil.rmtree(config.folder / removed, ignore_errors=True)
        (tmp_path / removed).rename(config.folder / removed)
    assert lines == []


def test_data_that_change_under_a_comparison_are_told_by_the_run(forked, comparison_file, tmp_path):
    task = tmp_path / "task.jsonl"
    task.write_text("".join(json.dumps({"question": f"{n}?", "answer": f"It is {n}."}) + "\n" for n in range(12)))
    before = task.read_text()

    def change(line):
        if line.startswith("ema, seed 0"):
            task.write_text(before.replace("It is 3.", "It is 4."))

    config = read_comparison(comparison_file(task_data=[str(task)]))
    content = json.loads(compare(config, change).read_text())
    failed = {one["name"]: one["failed"] for one in content["methods"]}
    assert "task_data changed after the comparison started" in failed["ema"]["seed 0"]
    assert failed["sft"] == {}
    task.write_text(before)  # putting the rows back does not make the run one of theirs
    content = json.loads(compare(config, quiet).read_text())
    assert {row["method"] for row in content["rows"]} == {"start", "sft"}


def test_a_model_that_was_built_anew_is_not_compared_with_the_old(forked, comparison_file, start_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(start_model, model)
    config = read_comparison(comparison_file(model_name_or_path=str(model), methods=["sft"]))
    compare(config, quiet)
    start = config.folder / "runs" / "start" / "evaluation" / "test.json"
    before = read_evaluation(start).model.fingerprint
    tiny_model("llama", len(chatml_tokenizer()), seed=9).save_pretrained(model)
    with pytest.raises(DataError, match=r"model_name_or_path changed since .*delete the folders runs"):
        compare(config, quiet)
    assert read_evaluation(start).model.fingerprint == before
    shutil.rmtree(config.folder / "runs" / "sft")  # and the row of the start model is not that of the old one
    compare(config, quiet)
    assert read_evaluation(start).model.fingerprint != before


def test_a_model_that_changes_under_a_comparison_is_told(forked, comparison_file, start_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(start_model, model)

    def change(line):
        if line.startswith("ema, seed 0"):
            tiny_model("llama", len(chatml_tokenizer()), seed=9).save_pretrained(model)

    with pytest.raises(DataError, match=r"the model changed between .*sft.seed-0 and .*ema.seed-0"):
        compare(read_comparison(comparison_file(model_name_or_path=str(model))), change)


def test_prompts_that_changed_are_asked_anew(forked, comparison_file, tmp_path):
    prompts = tmp_path / "mine.jsonl"
    prompts.write_text("".join(json.dumps({"id": f"p{n}", "prompt": f"question {n}?"}) + "\n" for n in range(3)))
    evaluation = {"suites": [f"harmless:{prompts}"], "max_new_tokens": 3}
    config = read_comparison(comparison_file(methods=["sft"], evaluation=evaluation))
    compare(config, quiet)
    prompts.write_text(prompts.read_text().replace("question 1?", "another one?"))
    lines = []
    compare(read_comparison(comparison_file(methods=["sft", "ema"], evaluation=evaluation)), lines.append)
    assert len([line for line in lines if not line.startswith(" ")]) == 3
    for run in ("start", "sft/seed-0", "ema/seed-0"):
        found = read_evaluation(config.folder / "runs" / run / "evaluation" / "test.json")
        assert [one.prompt[0]["content"] for one in found.responses][1] == "another one?"


def test_a_line_may_have_a_pool_of_its_own_or_none(forked, comparison_file):
    methods = {"sft": {"reference_data": []}, "safe_mix": None, "lisa": {"reference_data": ["builtin:refusal:3"]}}
    methods["lisa"] |= {"alignment_steps": 1, "task_steps": 2}
    config = read_comparison(comparison_file(methods=methods))
    content = json.loads(compare(config, quiet).read_text())
    assert {row["method"] for row in content["rows"]} == {"start", *methods}
    lines = []
    compare(config, lines.append)
    assert lines == []


def killed_at(title):
    """A process of a run that dies when it comes to one of them."""
    run = run_process.run

    def dies(plan):
        if plan.title == title:
            os.kill(os.getpid(), signal.SIGKILL)
        run(plan)

    return dies


def test_a_run_that_crashes_loses_itself_only(forked, comparison_file, monkeypatch):
    run = run_process.run
    monkeypatch.setattr(run_process, "run", killed_at("ema, seed 0"))
    config = read_comparison(
        comparison_file(methods={"ema": {"decay": 0.5}, "oracle": {"risky_kind": "x"}, "sft": None})
    )
    content = json.loads(compare(config, quiet).read_text())
    failed = {one["name"]: one["failed"] for one in content["methods"]}
    assert failed["ema"] == {"seed 0": "killed by signal 9 (out of memory?)"}
    assert "set risky_kind" in failed["oracle"]["seed 0"]
    assert {row["method"] for row in content["rows"]} == {"start", "sft"}
    monkeypatch.setattr(run_process, "run", run)
    content = json.loads(compare(config, quiet).read_text())
    assert {row["method"] for row in content["rows"]} == {"start", "sft", "ema"}
    assert [bool(one["failed"]) for one in content["methods"]] == [False, False, True, False]


@pytest.mark.slow
def test_nothing_is_chosen_while_a_candidate_fails(forked, comparison_file, monkeypatch):
    run = run_process.run
    monkeypatch.setattr(run_process, "run", killed_at("ema, trying decay 0.0"))
    config = read_comparison(
        comparison_file(methods={"sft": None, "ema": {"tune": {"decay": [0.0, 0.9]}}}, evaluation=EVALUATION)
    )
    ema = json.loads(compare(config, quiet).read_text())["methods"][2]
    assert (ema["tuning"]["chosen"], ema["runs"]) == (None, {})
    assert ema["failed"] == {"trying decay 0.0": "killed by signal 9 (out of memory?)"}
    assert (config.folder / "runs" / "sft" / "seed-0" / "adapter").is_dir()
    assert not (config.folder / "runs" / "ema").exists()
    monkeypatch.setattr(run_process, "run", run)
    ema = json.loads(compare(config, quiet).read_text())["methods"][2]
    assert (ema["tuning"]["chosen"] is None, list(ema["runs"]), ema["failed"]) == (False, ["0"], {})


def test_two_at_once_in_one_folder_are_refused(comparison_file):
    config = read_comparison(comparison_file())
    with lock_of_another_process(config.folder), pytest.raises(ResumeError, match="in use by another dualselect"):
        compare(config, quiet)


def test_prompts_may_not_be_chosen_on_and_told(comparison_file):
    both = {"suites": ["builtin:2"], "validation_suites": ["builtin:3"], "max_new_tokens": 3}
    with pytest.raises(DataError, match="both suites and validation_suites"):
        compare(read_comparison(comparison_file(evaluation=both)), quiet)


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
    methods = json.loads((config.folder / "comparison.json").read_text())["methods"]
    assert [one["steps"] for one in methods] == [{}, {"0": 4}]
    assert (run / "evaluation" / "test.json").exists()
    assert Path(config.folder / "runs" / "start" / "evaluation" / "test.json").exists()


@pytest.mark.slow
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
