"""The train verb, in process and as a real process with real signals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from models_for_tests import tiny_model
from safetensors.torch import load_file
from tokenizers_for_tests import chatml_tokenizer

from dualselect.cli.main import main


@pytest.fixture
def arguments(tmp_path, model_folder):
    rows = {
        "task": [
            {"id": f"t{n}", "kind": "task", "question": f"question {n}?", "answer": f"It is {n}."} for n in range(24)
        ],
        "safe": [{"prompt": f"bad thing {n}?", "completion": "I cannot help with that."} for n in range(8)],
    }
    for name, some in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return (
        f"train --model_name_or_path {model_folder} --task_data {tmp_path}/task.jsonl --use_cpu "
        f"--reference_data {tmp_path}/safe.jsonl --output_dir {tmp_path}/run --per_device_train_batch_size 4 "
        "--selection_warmup_steps 2 --max_steps 8 --save_steps 2 --learning_rate 1e-2 --max_length 256 "
        "--harmless_drop_rate 0.1"
    ).split()


def adapter(folder):
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()


def test_a_run_leaves_its_directory_and_says_where(tmp_path, arguments, capsys):
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "8 steps" in told
    assert str(tmp_path / "run" / "adapter") in told
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "selection.jsonl", "metrics.jsonl", "adapter", "checkpoint-8"} <= names
    assert not list((tmp_path / "run" / "adapter").glob("*.bin"))
    assert len((tmp_path / "run" / "selection.jsonl").read_text().splitlines()) >= 9


def test_its_config_repeats_the_run_exactly(tmp_path, arguments):
    assert main(arguments) == 0
    config = str(tmp_path / "run" / "config.yaml")
    assert main(["train", "--config", config, "--output_dir", str(tmp_path / "again"), "--use_cpu"]) == 0
    assert adapter(tmp_path / "run") == adapter(tmp_path / "again")
    assert (tmp_path / "run" / "selection.jsonl").read_text() == (tmp_path / "again" / "selection.jsonl").read_text()


def test_changed_data_is_refused_unless_accepted(tmp_path, arguments, capsys):
    assert main(arguments) == 0
    with (tmp_path / "task.jsonl").open("a") as file:
        file.write('{"question": "new?", "answer": "Yes."}\n')
    again = ["train", "--config", str(tmp_path / "run" / "config.yaml"), "--output_dir", str(tmp_path / "again")]
    assert main(again) == 2
    told = capsys.readouterr().err
    assert "task.jsonl" in told
    assert "--allow_changed_data" in told
    assert not (tmp_path / "again").exists()
    assert main([*again, "--allow_changed_data"]) == 0


def test_interrupted_by_ctrl_c_and_resumed_it_is_the_same_run(tmp_path, arguments, model_folder):
    whole = [word if word != str(tmp_path / "run") else str(tmp_path / "whole") for word in arguments]
    whole[whole.index("--max_steps") + 1] = cut = "60"
    arguments[arguments.index("--max_steps") + 1] = cut
    assert main(whole) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "dualselect.cli.main", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    log = tmp_path / "run" / "selection.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and log.stat().st_size > 2000):
        time.sleep(0.01)  # the other process decides when there is something to interrupt
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert f"dualselect train --config {tmp_path / 'run' / 'config.yaml'} --resume" in told
    assert not (tmp_path / "run" / "adapter").exists()
    assert main(["train", "--config", str(tmp_path / "run" / "config.yaml"), "--resume"]) == 0
    assert adapter(tmp_path / "run") == adapter(tmp_path / "whole")
    assert log.read_text() == (tmp_path / "whole" / "selection.jsonl").read_text()


def test_killed_while_a_checkpoint_was_written_the_one_before_is_taken(tmp_path, arguments, capsys):
    assert main(arguments) == 0
    expected = adapter(tmp_path / "run")
    run = tmp_path / "run"
    for file in (run / "adapter").iterdir():
        file.unlink()
    (run / "adapter").rmdir()
    (run / "checkpoint-8" / "dualselect_manifest.json").unlink()
    assert main(["train", "--config", str(run / "config.yaml"), "--resume"]) == 0
    assert "checkpoint-8 is skipped" in capsys.readouterr().err
    assert adapter(run) == expected


def test_a_run_that_was_moved_continues_where_it_is_and_may_be_longer(tmp_path, arguments, monkeypatch):
    longer = [*arguments, "--max_steps", "10"]
    longer[longer.index(str(tmp_path / "run"))] = str(tmp_path / "whole")
    assert main(longer) == 0
    assert main(arguments) == 0
    shutil.rmtree(tmp_path / "run" / "adapter")  # as if it had been killed before the end
    (tmp_path / "run").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert main(["train", "--config", "config.yaml", "--resume", "--max_steps", "10"]) == 0
    assert adapter(tmp_path / "moved") == adapter(tmp_path / "whole")
    assert "max_steps: 10" in (tmp_path / "moved" / "config.yaml").read_text()


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path, arguments):
    assert main(arguments) == 0
    before = adapter(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert main([*arguments, "--overwrite", "--max_steps", "4"]) == 0
    assert adapter(tmp_path / "run") != before
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert "notes.txt" in names
    assert "checkpoint-8" not in names


def test_a_refused_overwrite_deletes_nothing(tmp_path, arguments, capsys):
    assert main(arguments) == 0
    before = adapter(tmp_path / "run")
    assert main([*arguments, "--overwrite", "--selection_warmup_steps", "8"]) == 2
    assert "selection_warmup_steps" in capsys.readouterr().err
    assert adapter(tmp_path / "run") == before


def test_relative_paths_of_a_run_work_from_anywhere(tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = [word.replace(f"{tmp_path}/", "") for word in arguments]
    assert main(relative) == 0
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["train", "--config", str(tmp_path / "run" / "config.yaml"), "--output_dir", "again"]) == 0
    assert adapter(tmp_path / "run") == adapter(elsewhere / "again")


def test_another_model_under_the_same_name_is_warned_of(tmp_path, arguments, model_folder, capsys):
    arguments[arguments.index(str(model_folder))] = str(tmp_path / "model")
    shutil.copytree(model_folder, tmp_path / "model")
    assert main(arguments) == 0
    tiny_model("llama", len(chatml_tokenizer()), seed=1).save_pretrained(tmp_path / "model")
    again = ["train", "--config", str(tmp_path / "run" / "config.yaml"), "--output_dir", str(tmp_path / "again")]
    capsys.readouterr()
    assert main(again) == 0
    assert "warning: model weights was" in capsys.readouterr().err


def test_help_reads_like_documentation_and_needs_no_torch():
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "dualselect.cli.main", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert time.perf_counter() - start < 5
    assert "torch" not in done.stderr
    assert "dualselect train --task_data" in done.stdout


def test_help_of_train_has_our_settings_first(capsys):
    assert main(["train", "--help"]) == 0
    told = capsys.readouterr().out
    assert told.index("\n  --task_data") < told.index("\n  --rho") < told.index("\n  --learning_rate")
    assert "higher favors safety" in told


def test_every_example_is_a_run_that_could_start(repository_root, capsys):
    from dualselect.cli.parser import parse_train_arguments

    others = ("compare.yaml", "diagnose.yaml", "continual.yaml")  # tested beside their verbs
    examples = sorted(path for path in (repository_root / "examples").rglob("*.yaml") if path.name not in others)
    assert len(examples) == 6
    for path in examples:
        arguments = ["--config", str(path), "--use_cpu"]
        if path.parent.name in ("accelerate", "paper"):
            arguments += ["--output_dir", "x"]
        settings = parse_train_arguments(arguments).settings
        assert settings.model.lora_r == 16, path
        if "paper" in path.parts:
            assert settings.training.preservation_loss == "ce"
            assert settings.training.task_token_share == 0.9


def test_held_out_rows_are_evaluated_and_resumed_with(tmp_path, arguments, capsys):
    """Their loss is logged as eval_strategy says, a row that is not held out is told, and resuming needs them too."""
    rows = [{"question": f"new {n}?", "answer": f"It is {n}."} for n in range(3)]
    rows.append({"question": "question 5?", "answer": "It is 5."})
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with_eval = [*arguments, "--eval_data", f"{tmp_path}/held.jsonl", "--eval_strategy", "steps", "--eval_steps", "4"]
    assert main(with_eval) == 0
    told = capsys.readouterr()
    assert "1 of 4 rows of eval_data have a prompt that is also in task_data" in told.err
    before = adapter(tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_loss" in line] == [4, 8]
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["eval_data"] == [f"{tmp_path}/held.jsonl"]
    assert config["dualselect_run"]["data"]["eval_data"]["rows"] == 4
    again = ["train", "--config", str(tmp_path / "run" / "config.yaml"), "--resume"]
    shutil.rmtree(tmp_path / "run" / "adapter")
    for step in (6, 8):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    assert main(again) == 0
    assert adapter(tmp_path / "run") == before
    with (tmp_path / "held.jsonl").open("a") as file:
        file.write('{"question": "more?", "answer": "Yes."}\n')
    assert main([*again[:-1], "--output_dir", str(tmp_path / "other")]) == 2
    assert "eval_data: " in capsys.readouterr().err


def test_held_out_rows_that_nobody_looks_at_are_refused(tmp_path, arguments, capsys):
    assert main([*arguments, "--eval_data", f"{tmp_path}/task.jsonl"]) == 2
    assert "write --eval_strategy epoch" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_layers_are_trained_whole_and_the_run_is_evaluated_and_repeated_like_any_other(tmp_path, arguments, capsys):
    whole = [
        *arguments,
        "--use_peft=false",
        "--gradient_storage=recompute",
        "--task_token_budget=0.7",
        "--lora_target_modules",
        "q_proj",
        "up_proj",
    ]
    assert main(whole) == 0
    folder = tmp_path / "run" / "adapter"
    assert not (folder / "adapter_config.json").exists()
    trained = load_file(folder / "model.safetensors")
    start = load_file(Path(arguments[arguments.index("--model_name_or_path") + 1]) / "model.safetensors")
    moved = {name for name, value in trained.items() if not torch.equal(value, start[name])}
    assert moved == {name for name in trained if name.endswith(("q_proj.weight", "up_proj.weight"))}
    card = (folder / "README.md").read_text()
    assert "# A fine-tuned" in card
    assert "library_name: transformers" in card
    config = str(tmp_path / "run" / "config.yaml")
    assert main(["train", "--config", config, "--output_dir", str(tmp_path / "again"), "--use_cpu"]) == 0
    again = load_file(tmp_path / "again" / "adapter" / "model.safetensors")
    assert all(torch.equal(value, again[name]) for name, value in trained.items())
    lines = [json.loads(line) for line in (tmp_path / "run" / "selection.jsonl").read_text().splitlines()]
    assert any(not all(line["kept"]) for line in lines if line["event"] == "step")
    short = ["--limit", "2", "--max_new_tokens", "4"]
    assert main(["evaluate", "--model", str(tmp_path / "run"), "--suite", "builtin", *short]) == 0
    for verb in (["audit"], ["diagnose", "--probe_data", "builtin:refusal[504:518]"]):
        capsys.readouterr()
        assert main([*verb, "--config", config, "--output_dir", str(tmp_path / verb[0])]) == 2
        assert "temporary LoRA adapter" in capsys.readouterr().err


def test_whole_layers_resume_to_the_same_bytes(tmp_path, arguments):
    whole = [*arguments, "--use_peft=false", "--lora_target_modules", "q_proj"]
    assert main([*whole, "--max_steps", "4"]) == 0
    shutil.rmtree(tmp_path / "run" / "adapter")
    assert main([*whole, "--resume", "auto"]) == 0
    assert main([*whole, "--output_dir", str(tmp_path / "through")]) == 0
    one, other = (load_file(tmp_path / name / "adapter" / "model.safetensors") for name in ("run", "through"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
