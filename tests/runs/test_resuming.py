"""A run in its directory: started, continued or done; compared with the run that was never stopped."""

import json
import logging
import os
import shutil
import signal

import pytest
from models_for_tests import saved_model
from tokenizers_for_tests import chatml_tokenizer
from transformers import TrainerCallback

from dualselect.cli.main import main
from dualselect.errors import ResumeError
from dualselect.runs import resuming
from dualselect.runs.directory import RunDirectory
from dualselect.runs.train import train_run
from dualselect.training.checkpoints import MANIFEST


CLOCK = ("train_runtime", "train_samples_per_second", "train_steps_per_second")


class Stop(TrainerCallback):
    """Sends the signal of Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    saved_model(folder / "model")
    rows = {
        "task": [{"kind": "task", "question": f"question {n}?", "answer": f"It is {n}."} for n in range(12)],
        "safe": [{"prompt": f"bad thing {n}?", "completion": "I cannot help."} for n in range(4)],
    }
    for name, some in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    return (
        f"train --model_name_or_path {folder}/model --task_data {folder}/task.jsonl --use_cpu --disable_tqdm true "
        f"--reference_data {folder}/safe.jsonl --per_device_train_batch_size 4 --logging_steps 3 "
        "--selection_warmup_steps 1 --max_steps 8 --save_steps 4 --learning_rate 1e-2 --max_length 256 "
        "--harmless_drop_rate 0.1"
    ).split()


@pytest.fixture(scope="module")
def whole(arguments, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*arguments, "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """As if the run had been killed before its adapter was saved."""
    shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "adapter")
    return tmp_path / "run"


def resume(run, *more):
    return main(["train", "--config", str(run / "config.yaml"), *more])


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in CLOCK} for line in lines]


def same(run, whole):
    for name in ("selection.jsonl", "config.yaml", "adapter/adapter_model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert metrics(run) == metrics(whole)


def test_two_stops_leave_no_trace(arguments, whole, tmp_path):
    """Stops in the middle of an epoch, between two log lines."""
    from dualselect.cli.parser import parse_train_arguments

    run = tmp_path / "run"
    for step, more in ((2, []), (5, ["--resume"])):
        settings = parse_train_arguments([*arguments[1:], "--output_dir", str(run), *more]).settings
        assert train_run(settings, callbacks=[Stop(step)]).interrupted_by == signal.SIGINT
    assert resume(run, "--resume", "auto") == 0
    same(run, whole)


@pytest.mark.parametrize("last", [8, 4])
def test_killed_before_the_adapter_was_saved(run, whole, last):
    for folder in run.glob("checkpoint-*"):
        if int(folder.name.split("-")[1]) > last:
            shutil.rmtree(folder)
    (run / ".adapter-x1" / "adapter").mkdir(parents=True)
    assert resume(run, "--resume") == 0
    same(run, whole)
    assert not (run / ".adapter-x1").exists()


def test_auto_starts_continues_and_is_done(arguments, whole, tmp_path, capsys):
    run = tmp_path / "run"
    command = [*arguments, "--output_dir", str(run), "--resume", "auto"]
    run.mkdir()
    (run / "config.yaml").write_text("learning_rate: 0.1\ndualselect_run: {}\n")  # killed before its first checkpoint
    (run / "selection.jsonl").write_text("{broken")
    (run / "notes.txt").write_text("mine")
    shutil.copytree(whole / "checkpoint-4", run / "checkpoint-4")
    (run / "checkpoint-4" / MANIFEST).unlink()  # cut off
    assert main(command) == 0
    assert "restarts from step 1" in capsys.readouterr().err
    same(run, whole)
    before = (run / "metrics.jsonl").read_bytes()
    assert main(command) == 0
    assert "8 of 8 optimizer steps" in capsys.readouterr().out
    assert (run / "metrics.jsonl").read_bytes() == before
    assert (run / "notes.txt").read_text() == "mine"


def test_auto_does_not_delete_checkpoints_that_were_whole_once(run):
    for folder in run.glob("checkpoint-*"):
        (folder / "optimizer.pt").unlink()
    with pytest.raises(ResumeError, match=r"only damaged checkpoints \(checkpoint-8: optimizer.pt.*--overwrite"):
        resuming._auto(RunDirectory(run))


def test_a_broken_log_is_refused_and_overwriting_works(run, whole, capsys):
    (run / "metrics.jsonl").write_text('{"step": 3}\n{bro\n')
    assert resume(run, "--resume") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "metrics.jsonl is broken in line 2" in told
    assert "--overwrite" in told
    (run / "selection.jsonl").write_text("{broken\n")
    assert resume(run, "--overwrite") == 0
    same(run, whole)


def test_leftovers_of_kills_are_removed_and_other_files_stay(tmp_path):
    ours = (".adapter-ab1_", ".probe-x", ".config.yaml.abc", ".selection.jsonl.q", "tmp-checkpoint-12")
    theirs = ("notes.txt", ".config", ".adapter", "adapter-x", ".config.yaml", "tmp-checkpoint-x")
    for name in (*ours, *theirs):
        (tmp_path / name).write_text("")
    (tmp_path / "checkpoint-4").mkdir()
    (tmp_path / "checkpoint-4" / f".{MANIFEST}.x12").write_text("")
    RunDirectory(tmp_path).remove_leftovers()
    assert {path.name for path in tmp_path.iterdir()} == {*theirs, "checkpoint-4"}
    assert not list((tmp_path / "checkpoint-4").iterdir())


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("learning_rate", "0.02", "learning_rate"),
        ("data_seed", "4", "data_seed"),
        ("per_device_train_batch_size", "2", "rows per optimizer step"),
        ("lora_alpha", "64", "lora_alpha"),
        ("weight_decay", "0.1", "weight_decay"),
        ("lr_scheduler_type", "linear", "lr_scheduler_type"),
    ],
)
def test_what_decides_the_result_is_compared(run, capsys, setting, value, named):
    assert resume(run, "--resume", f"--{setting}", value) == 2
    assert named in capsys.readouterr().err


def test_how_the_work_is_split_may_change(run, whole):
    shutil.rmtree(run / "checkpoint-8")
    changes = "--per_device_train_batch_size 2 --gradient_accumulation_steps 2 --gradient_checkpointing true"
    assert resume(run, "--resume", *changes.split(), "--reference_batch_size", "3", "--logging_steps", "1") == 0

    def chosen(folder):
        lines = [json.loads(line) for line in (folder / "selection.jsonl").read_text().splitlines()]
        return [(line["event"], line["step"], line.get("ids"), line.get("kept")) for line in lines]

    assert chosen(run) == chosen(whole)


def test_changed_weights_are_refused_and_recorded_when_accepted(run, whole, tmp_path, caplog):
    import yaml

    folder = tmp_path / "model"
    config = yaml.safe_load((run / "config.yaml").read_text())
    shutil.copytree(config["model_name_or_path"], folder)
    text = (run / "config.yaml").read_text().replace(config["model_name_or_path"], str(folder))
    (run / "config.yaml").write_text(text)
    shutil.rmtree(run / "checkpoint-8")
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1  # one bit of one weight
    weights.write_bytes(content)
    assert resume(run, "--resume") == 2
    with caplog.at_level(logging.WARNING):
        assert resume(run, "--resume", "--allow_changed_model", "true") == 0
    recorded = yaml.safe_load((run / "config.yaml").read_text())["dualselect_run"]["model"]
    assert recorded["weights_before"] == [config["dualselect_run"]["model"]["weights"]]
    assert recorded["weights"] not in recorded["weights_before"]


def test_a_template_with_the_date_resumes_on_another_day(arguments, tmp_path, monkeypatch):
    from dualselect.runs import train

    class Day:
        today = staticmethod(lambda: Day)
        isoformat = staticmethod(lambda: Day.now)

    monkeypatch.setattr(train, "date", Day)
    template = tmp_path / "dated.jinja"
    template.write_text('{{ strftime_now("%d %b %Y") }} ' + chatml_tokenizer().chat_template)
    run = tmp_path / "run"
    more = ["--chat_template_path", str(template), "--max_steps", "3", "--save_steps", "2"]
    Day.now = "2026-11-27"
    assert main([*arguments, *more, "--output_dir", str(run)]) == 0
    adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(run / "adapter")
    shutil.rmtree(run / "checkpoint-3")
    Day.now = "2026-11-28"
    assert resume(run, "--resume") == 0
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == adapter
