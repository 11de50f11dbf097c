"""Sequences end to end on a tiny random model: scores mean nothing, files and what is kept do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from models_for_tests import saved_model
from safetensors.torch import load_file

import dualselect
from dualselect.cli.main import main
from dualselect.errors import ConfigError
from dualselect.sequences.memory import read_memory


METHODS = {
    "sequential": None,
    "er": {"memory_size": 4},
    "der_pp": {"memory_size": 4, "top_k": 8},
    "ewc": None,
    "o_lora": None,
    "osft": None,
    "joint": None,
    "dualselect": {"selection_warmup_steps": 0},
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    saved_model(folder / "model")
    for name in ("a", "b", "c"):
        rows = [{"prompt": f"{name} {n} is what?", "answer": f"{name}{n % 3}"} for n in range(24)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model_name_or_path": str(folder / "model"),
        "tasks": [{"name": name, "data": str(folder / f"{name}.jsonl")} for name in ("a", "b")],
        "memory": {"rows": 8},
        "methods": METHODS,
        "safety": {"pool": ["builtin:refusal:6"], "suites": ["builtin:2"]},
        "evaluation": {"limit": 3, "max_new_tokens": 2},
        "alone": True,
        "per_device_train_batch_size": 6,
        "num_train_epochs": 1,
        "learning_rate": 1e-2,
        "max_length": 96,
        "lora_r": 4,
        "lora_dropout": 0.0,
        "use_cpu": True,
        "disable_tqdm": True,
    }


@pytest.fixture(scope="module")
def finished(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sequence") / "out"
    told = []
    path = dualselect.continual(content | {"output_dir": str(folder)}, told.append)
    return folder, json.loads(path.read_text()), told


def weights(stage):
    return load_file(stage / "adapter" / "adapter_model.safetensors")


def test_every_method_has_a_matrix(finished):
    _, results, told = finished
    assert results["tasks"] == ["a", "b"]
    for method in results["methods"]:
        (run,) = method["runs"]
        assert len(run["scores"]) == (1 if method["name"] == "joint" else 2)
        assert all(set(stage) == {"a", "b"} for stage in run["scores"])
        assert run["cost"]["rows_forward_backward"] > 0
        assert method["summary"]["exact_match"]["average"]["count"] == 1
        has_forgetting = method["summary"]["answer_probability"]["forgetting"] is not None
        assert has_forgetting == (method["name"] != "joint")
    assert results["methods"][0]["summary"]["answer_probability"]["forward_transfer"] is not None  # `alone`
    assert set(results["start"]) == {"a", "b"}
    assert any("refusal_rate" in name for name in results["start_safety"])
    assert len(told) == 2 * 7 + 2


def test_one_adapter_is_carried_through_and_a_new_one_is_put_on_top(finished):
    folder, *_ = finished
    config = yaml.safe_load((folder / "runs" / "er" / "order-0" / "seed-0" / "02-b" / "config.yaml").read_text())
    assert config["start_adapter"].endswith("01-a/adapter")
    config = yaml.safe_load((folder / "runs" / "o_lora" / "order-0" / "seed-0" / "02-b" / "config.yaml").read_text())
    assert [Path(one).parent.name for one in config["merged_adapters"]] == ["01-a"]
    assert "start_adapter" not in config


def test_the_memory_has_the_rows_of_earlier_tasks_with_their_losses_and_safe_responses(finished):
    folder, results, _ = finished
    kept = read_memory(folder / "runs" / "dualselect" / "order-0" / "seed-0" / "memory" / "02")
    kinds = [row.kind for row in kept]
    assert (kinds.count("safety"), kinds.count("a")) == (6, 8)
    assert all(row.learned_loss > 0 and row.tokens > 0 for row in kept if row.kind == "a")
    assert all(row.score is not None for row in kept if row.kind == "safety")  # they were the pool of the first task
    log = (folder / "runs" / "dualselect" / "order-0" / "seed-0" / "02-b" / "selection.jsonl").read_text()
    first = next(line for line in map(json.loads, log.splitlines()) if line["event"] == "refresh")
    position = first["ids"].index(kept[-1].id)
    excess = first["losses"][position] - kept[-1].learned_loss
    assert first["preservation_losses"][position] == pytest.approx(excess, abs=1e-4)
    assert results["methods"][-1]["runs"][0]["memory"] == [{"safety": 6}, {"safety": 6, "a": 8}]


def test_a_method_continues_its_own_state(finished):
    folder, *_ = finished
    for name in ("ewc", "der_pp"):
        config = yaml.safe_load((folder / "runs" / name / "order-0" / "seed-0" / "02-b" / "config.yaml").read_text())
        assert config["dualselect_run"]["method"]["settings"]["earlier_run"].endswith("01-a")


def test_a_second_call_does_nothing_and_one_more_task_continues(content, finished):
    folder, *_ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("adapter_model.safetensors")}
    two = {"sequential": None, "dualselect": METHODS["dualselect"]}
    tasks = [*content["tasks"], {"name": "c", "data": content["tasks"][0]["data"].replace("a.jsonl", "c.jsonl")}]
    path = dualselect.continual(content | {"output_dir": str(folder), "tasks": tasks, "methods": two}, lambda _: None)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    more = json.loads(path.read_text())
    assert [len(method["runs"][0]["scores"]) for method in more["methods"]] == [3, 3]
    assert all(set(stage) == {"a", "b", "c"} for stage in more["methods"][0]["runs"][0]["scores"])
    assert more["methods"][0]["summary"]["answer_probability"]["forgetting"]["count"] == 1


def test_other_rows_in_the_same_folder_are_refused(content, finished):
    folder, *_ = finished
    with pytest.raises(ConfigError, match="settings changed"):
        dualselect.continual(content | {"output_dir": str(folder), "learning_rate": 2e-2}, lambda _: None)


def test_the_verb_prints_a_table_and_the_report_is_a_page(content, tmp_path, capsys):
    small = content | {"methods": ["sequential", "dualselect"], "alone": False, "output_dir": str(tmp_path / "out")}
    small["methods"] = {"sequential": None, "dualselect": METHODS["dualselect"]}
    (tmp_path / "sequence.yaml").write_text(yaml.safe_dump(small))
    assert main(["continual", "--config", str(tmp_path / "sequence.yaml")]) == 0
    printed = capsys.readouterr().out
    assert "AP, probability" in printed
    assert "dualselect report" in printed
    assert main(["report", str(tmp_path / "out")]) == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "After 2 tasks" in page
    assert "points)" in page
    assert page.count("<svg") >= 4
    assert main(["continual", "--methods"]) == 0
    assert "dualselect_filter" in capsys.readouterr().out


def test_killed_and_started_again_it_ends_with_the_same_results(content, tmp_path):
    small = content | {"methods": {"dualselect": METHODS["dualselect"]}, "alone": False}
    del small["safety"]
    one_go = small | {"output_dir": str(tmp_path / "whole")}
    whole = json.loads(dualselect.continual(one_go, lambda _: None).read_text())
    config = tmp_path / "sequence.yaml"
    config.write_text(yaml.safe_dump(small | {"output_dir": str(tmp_path / "killed")}))
    command = [sys.executable, "-m", "dualselect.cli.main", "continual", "--config", str(config)]
    stages = tmp_path / "killed" / "runs" / "dualselect" / "order-0" / "seed-0"
    for mark in (stages / "02-b" / "config.yaml",):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
        for _ in range(600):
            if mark.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = json.loads(dualselect.continual(config, lambda _: None).read_text())
    for one in (whole, again):
        for method in one["methods"]:
            for run in method["runs"]:
                run["cost"].pop("seconds")
    assert again["methods"] == whole["methods"]
    expected = weights(tmp_path / "whole" / stages.relative_to(tmp_path / "killed") / "02-b")
    assert all(torch.equal(value, expected[name]) for name, value in weights(stages / "02-b").items())


def test_the_six_lines_of_the_guide_learn_two_files_of_a_user(content, repository_root, tmp_path, monkeypatch):
    text = (repository_root / "docs" / "continual.md").read_text("utf-8")
    lines = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    readme = (repository_root / "README.md").read_text("utf-8")
    assert yaml.safe_load(readme.split("```yaml\n")[1].split("```")[0]) == lines
    monkeypatch.chdir(tmp_path)
    for task in lines["tasks"]:
        rows = [{"question": f"{task['name']} {n}?", "answer": f"It is {n}."} for n in range(24)]
        (tmp_path / task["data"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny = {name: content[name] for name in ("evaluation", "per_device_train_batch_size", "max_length", "use_cpu")}
    small = {"safety": {"pool": ["builtin[0:8]"], "suites": ["builtin:2"]}, "disable_tqdm": True}
    (tmp_path / "sequence.yaml").write_text(
        yaml.safe_dump(lines | tiny | small | {"model_name_or_path": content["model_name_or_path"]})
    )
    assert main(["continual", "--config", "sequence.yaml"]) == 0
    (method,) = json.loads((tmp_path / "runs" / "sequence" / "continual.json").read_text())["methods"]
    assert len(method["runs"][0]["scores"]) == 2
