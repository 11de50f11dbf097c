"""Several processes, started by torchrun, train what one process trains."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from accelerate.state import DistributedType, PartialState
from models_for_tests import saved_model
from rows_for_tests import adapter_of
from safetensors.torch import load_file

from dualselect import DualSelectConfig
from dualselect.cli.main import main
from dualselect.errors import ConfigError
from dualselect.runs.record import warn_of_differences
from dualselect.training.hardware import check_hardware
from dualselect.training.selection_log import SelectionLog


HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from training_for_tests import train  # noqa: E402 - the folder is not on the path


CASES = {
    "plain": {},
    "soft": {"selection_mode": "soft"},
    "uneven": {"task": 21, "num_train_epochs": 2, "max_steps": -1},
    "drop-last": {"task": 21, "num_train_epochs": 2, "max_steps": -1, "dataloader_drop_last": True},
    "grouped": {"train_sampling_strategy": "group_by_length"},
    "grouped-dropout": {
        "train_sampling_strategy": "group_by_length",
        "dropout": 0.3,
        "task": 21,
        "num_train_epochs": 2,
        "max_steps": -1,
    },
    "one-row-more": {"task": 17, "num_train_epochs": 2, "max_steps": -1},
    "small-pool": {"pool": 1},
    "contrast": {"reference_contrast": "compliance", "task_token_budget": "auto"},
    "kl": {"preservation_loss": "kl", "reference_refresh": "steps", "reference_refresh_steps": 2},
    "replay": {"reference_gradient": "replay", "reference_top_k": 5, "reference_replay_size": 3},
    "recompute": {"gradient_storage": "recompute"},
    "packed": {"packing": True, "max_length": 96, "task": 61, "num_train_epochs": 2, "max_steps": -1},
}
# with accumulation too, where it may matter
ACCUMULATED = {"plain", "uneven", "drop-last", "grouped-dropout", "contrast", "packed"}
SPLITS = {
    "2x4": {"per_device_train_batch_size": 4},
    "2x2x2": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
}


def launch(*arguments, check=True, timeout=200):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE.parent.parent / "src")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done


def script(*asked, **options):
    return launch(str(HERE / "training_for_tests.py"), json.dumps(asked), **options)


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory):
    """Every case in both splits, in one start of two processes, of which one fails in a last training."""
    folder = tmp_path_factory.mktemp("two")
    asked = [
        {"folder": str(folder / name / split), "world": 2, "max_steps": 6, **case, **shape}
        for name, case in CASES.items()
        for split, shape in SPLITS.items()
        if split == "2x4" or name in ACCUMULATED
    ]
    started = time.monotonic()
    done = script(*asked, {"folder": str(folder / "failed"), "world": 2, "dies": [1, 3, False]}, check=False)
    assert done.returncode != 0
    assert time.monotonic() - started < 180
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("drop-last", "grouped-dropout")])
def test_two_processes_choose_and_learn_what_one_does(tmp_path, trained_by_two, case):
    one = train(tmp_path, per_device_train_batch_size=8, **({"max_steps": 6} | CASES[case]))
    lines = one.selection_log.read()
    for split in SPLITS if case in ACCUMULATED else ["2x4"]:
        folder = trained_by_two / case / split
        others = SelectionLog(folder).read()
        assert len(lines) == len(others)
        for line, other in zip(lines, others, strict=True):
            for key in ("event", "step", "kept"):
                assert line.get(key) == other.get(key)
            assert line.get("ids") == other.get("ids")
        adapter = load_file(folder / "adapter_model.safetensors")
        for name, value in adapter_of(one).items():
            torch.testing.assert_close(value, adapter[name.replace(".default.", ".")], rtol=0, atol=1e-6)


def test_no_row_is_used_twice_in_an_epoch(trained_by_two):
    for split in SPLITS:
        lines = SelectionLog(trained_by_two / "drop-last" / split).read()
        counts = Counter(row for line in lines for row in line.get("ids", []) if line["event"] in ("warmup", "step"))
        assert len(counts) >= 16
        assert set(counts.values()) <= {1, 2}  # in two epochs


def test_every_row_is_used_once_in_an_epoch_by_length_and_with_dropout(trained_by_two):
    """Dropout draws other random numbers in each process; the order of the rows must not depend on them."""
    for split in SPLITS:
        lines = SelectionLog(trained_by_two / "grouped-dropout" / split).read()
        counts = Counter(row for line in lines for row in line.get("ids", []) if line["event"] in ("warmup", "step"))
        assert len(counts) == 21
        assert set(counts.values()) == {2}


def test_a_process_that_fails_ends_all_with_its_error(trained_by_two):
    assert "this rank has failed" in (trained_by_two / "stderr").read_text()


@pytest.mark.slow  # four launches of torchrun
def test_a_killed_process_ends_all_and_the_run_resumes_on_two_and_on_one(tmp_path):
    saved = {"world": 2, "per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 2, "max_steps": 8}
    folder = str(tmp_path / "run")
    assert script({"folder": folder, "dies": [1, 5, True], **saved}, check=False).returncode != 0
    assert (tmp_path / "run" / "checkpoint-4").is_dir()
    whole = {"folder": str(tmp_path / "whole"), **saved}
    script({"folder": folder, "resume": True, **saved}, whole)
    one, other = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("run", "whole"))
    assert one == other
    assert SelectionLog(folder).read() == SelectionLog(tmp_path / "whole").read()
    alone = saved | {"world": 1, "per_device_train_batch_size": 4}
    resumed = train(tmp_path / "whole", resume=str(tmp_path / "whole" / "checkpoint-4"), **alone)
    adapter = load_file(tmp_path / "run" / "adapter_model.safetensors")
    for name, value in adapter_of(resumed).items():
        torch.testing.assert_close(value, adapter[name.replace(".default.", ".")], rtol=0, atol=1e-6)


@pytest.mark.slow  # two launches of torchrun
def test_the_train_verb_writes_one_run_and_prints_once(tmp_path):
    saved_model(tmp_path / "model")
    rows = {
        "task": [{"id": f"t{n}", "question": f"question {n}?", "answer": f"It is {n}."} for n in range(24)],
        "safe": [{"prompt": f"bad thing {n}?", "completion": "I cannot help with that."} for n in range(8)],
    }
    for name, some in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    arguments = (
        f"train --model_name_or_path {tmp_path}/model --task_data {tmp_path}/task.jsonl --use_cpu --max_steps 6 "
        f"--reference_data {tmp_path}/safe.jsonl --lora_dropout 0 --selection_warmup_steps 2 --learning_rate 1e-2 "
        "--save_steps 3 --harmless_drop_rate 0.2"
    ).split()
    two, one = tmp_path / "two", tmp_path / "one"
    done = launch("-m", "dualselect.cli.main", *arguments, f"--output_dir={two}", "--per_device_train_batch_size=2")
    for said_once in (
        "adapter  ",
        "training: 6 steps of 4 rows on 2 processes",
        "again      torchrun --nproc_per_node 2",
    ):
        assert done.stdout.count(said_once) == 1, done.stdout
    assert main([*arguments, f"--output_dir={one}", "--per_device_train_batch_size=4"]) == 0
    found, expected = SelectionLog(two).read(), SelectionLog(one).read()
    assert [line.get("kept") for line in found] == [line.get("kept") for line in expected]
    assert "processes: 2" in (two / "config.yaml").read_text()


@pytest.mark.parametrize("verb", ["audit", "evaluate", "compare", "report"])
def test_other_verbs_run_in_one_process(monkeypatch, capsys, verb):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([verb]) != 0
    assert f"type dualselect {verb} without torchrun" in capsys.readouterr().err


def test_a_launcher_that_shards_the_model_is_refused(tmp_path, monkeypatch):
    args = train(tmp_path, max_steps=3).args
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="FSDP cannot be used: each process must hold the whole model.*torchrun"):
        check_hardware(args, several_processes=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accelerator_config": {"split_batches": True}}, "split_batches: true} cannot be used with 2 processes"),
        (
            {"accelerator_config": {"dispatch_batches": True}},
            "dispatch_batches: true} cannot be used with 2 processes",
        ),
        ({"accelerator_config": {"even_batches": False}}, "even_batches: false} cannot be used with 2 processes"),
        ({"train_sampling_strategy": "batch_rebalance"}, "batch_rebalance cannot be used.*use group_by_length"),
    ],
)
def test_loaders_that_break_the_rows_of_a_step_are_refused(tmp_path, monkeypatch, change, message):
    args = DualSelectConfig(str(tmp_path), use_cpu=True, **change)
    monkeypatch.setattr(DualSelectConfig, "world_size", 2)
    monkeypatch.setattr(PartialState(), "distributed_type", DistributedType.MULTI_CPU)
    with pytest.raises(ConfigError, match=message):
        check_hardware(args, several_processes=True)


def test_a_repeated_run_says_that_the_number_of_processes_differs(caplog):
    warn_of_differences({"processes": 4}, {"versions": {}, "model": {}})
    assert "used 4 process(es), this run uses 1" in caplog.text


def test_fewer_processes_than_asked_for_are_refused(tmp_path, monkeypatch):
    trainer = train(tmp_path, max_steps=3)
    monkeypatch.setenv("ACCELERATE_NUM_PROCESSES", "2")
    with pytest.raises(ConfigError, match="2 processes were requested but only 1 is running.*torchrun"):
        check_hardware(trainer.args)
