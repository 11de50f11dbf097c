"""`dualselect plan`: what it predicts from a few steps is what the training then takes."""

import json
import tempfile
import time

import pytest
from rows_for_tests import words

from dualselect.cli.main import main


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def settings(tmp_path, model_folder):
    task = [{"question": f"question {n}?", "answer": f"It is {n}." + " so" * (n % 7)} for n in range(60)]
    safe = [{"prompt": f"bad thing {n}?", "completion": "I cannot help." + " no" * (n % 5)} for n in range(40)]
    for name, rows in (("task", task), ("safe", safe)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "--model_name_or_path": str(model_folder),
        "--task_data": f"{tmp_path}/task.jsonl",
        "--reference_data": f"{tmp_path}/safe.jsonl",
        "--output_dir": f"{tmp_path}/run",
        "--use_cpu": "true",
        "--per_device_train_batch_size": "4",
        "--max_steps": "30",
        "--save_steps": "10",
        "--max_length": "256",
        "--harmless_drop_rate": "0.1",
        "--disable_tqdm": "true",
    }


def planned(tmp_path, *arguments):
    assert main(["plan", *arguments, "--seconds", "0.2", "--json", str(tmp_path / "plan.json")]) == 0
    return json.loads((tmp_path / "plan.json").read_text())


@pytest.mark.slow  # a training and a plan
def test_counts_and_sizes_are_those_of_the_run_and_nothing_is_left(tmp_path, settings, scratch, capsys):
    plan = planned(tmp_path, *words(settings))
    told = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    assert list(scratch.iterdir()) == []
    assert "in all: 30 optimizer steps (6 warm-up), 2 reference refreshes" in told.splitlines()[0]
    assert main(["train", *words(settings)]) == 0
    run = tmp_path / "run"
    events = [json.loads(line)["event"] for line in (run / "selection.jsonl").read_text().splitlines()]
    assert (plan["warmup_steps"], plan["refreshes"]) == (events.count("warmup"), events.count("refresh"))
    assert plan["steps"] == events.count("warmup") + events.count("step")
    folders = [*run.glob("checkpoint-*"), run / "adapter"]
    assert len(folders) == plan["checkpoints"] + 1
    size = sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())
    assert plan["disk_bytes"] == pytest.approx(size, rel=0.1)


@pytest.mark.slow
def test_the_duration_is_about_that_of_the_run(tmp_path, settings):
    # other processes run beside the tests; benchmarks/plan_accuracy.py holds the bound of a quarter
    long = words(settings, max_steps="240", save_steps="80")
    plan = planned(tmp_path, *long)
    begun = time.monotonic()
    assert main(["train", *long]) == 0
    assert 1 / 3 < plan["total_seconds"] / (time.monotonic() - begun) < 3
    assert plan["total_seconds"] > 240 * plan["step_seconds"]


@pytest.mark.slow  # several trainings
def test_memory_is_measured_and_changes_are_named(tmp_path, settings, capsys):
    plan = planned(tmp_path, *words(settings), "--memory", "900GB")
    assert "To fit 900.0 GB\n  nothing: the peak of " in capsys.readouterr().out
    assert 10**8 < plan["start_memory"] <= plan["peak_memory"] < 10**11
    assert plan["peak_memory"] == max(plan["step_memory"], plan["refresh_memory"])
    planned(tmp_path, *words(settings), "--memory", "1KB")
    assert "are in use between two steps, which is more than 1.0 KB" in capsys.readouterr().out


@pytest.mark.slow  # a training and a plan each
@pytest.mark.parametrize(
    "changed",
    [
        {"gradient_accumulation_steps": "3", "reference_contrast": "compliance", "task_token_budget": "auto"},
        {
            "reference_gradient": "replay",
            "task_token_budget": "0.9",
            "reference_refresh": "adaptive",
            "eval_data": "{folder}/safe.jsonl[0:4]",
            "eval_strategy": "steps",
            "eval_steps": "10",
        },
        {"packing": "true", "gradient_storage": "recompute", "save_strategy": "no"},
        pytest.param(
            {
                "preservation_loss": "kl",
                "per_device_train_batch_size": "64",
                "num_train_epochs": "12",
                "max_steps": None,
            },
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"use_peft": "false", "gradient_storage": "recompute", "gradient_accumulation_steps": "2"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"gradient_engine": "sequential", "reference_batch_size": "50", "save_strategy": "no"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_with_other_settings(tmp_path, settings, changed):
    given = {name: value and value.format(folder=tmp_path) for name, value in changed.items()}
    plan = planned(tmp_path, *words(settings, **given))
    assert plan["refresh_seconds"] > 0
    assert (plan["evaluation_seconds"] > 0) == ("eval_data" in changed)
    assert (plan["checkpoint_bytes"] > 0) == (changed.get("save_strategy") != "no")


def test_train_has_it_as_an_option(tmp_path, settings, capsys):
    assert main(["train", "--plan", *words(settings), "--seconds", "0"]) == 0
    assert " in all: 30 optimizer steps" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (["--rho", "-1"], "rho is -1"),
        (["--selection_warmup_steps", "30"], "nothing would be selected"),
        (["--memory", "much"], "write a size such as 24GB"),
        (["--seconds", "-1"], "--seconds is -1"),
        (["--memori", "1GB"], "Type --memory"),
        (["--task_data", "none.jsonl"], "file not found"),
    ],
)
def test_what_train_refuses_is_refused(settings, changed, told, capsys):
    assert main(["plan", *words(settings), *changed]) == 2
    assert told in capsys.readouterr().err
