"""Devices belong to a run: making settings touches none, and a trainer refuses what its machine cannot do."""

import subprocess
import sys

import pytest
import torch
from accelerate.state import PartialState
from rows_for_tests import small_trainer

from dualselect import DualSelectConfig
from dualselect.errors import ConfigError
from dualselect.training.hardware import check_hardware


MAKING_SETTINGS = """
import warnings
warnings.simplefilter("error", FutureWarning)
import torch
from accelerate.state import AcceleratorState, PartialState
from dualselect import DualSelectConfig
from dualselect.cli.main import main
from dualselect.cli.parser import parse_train_arguments
from dualselect.diagnostic import read_diagnostic
from dualselect.methods import METHODS
from dualselect.methods.fine_tune import run_settings
from dualselect.runs.settings import settings_to_write

def ask_the_gpu(*_, **__):
    raise AssertionError("settings ask a GPU what it supports, which starts CUDA")

torch.cuda.is_available, torch.cuda.is_bf16_supported = lambda: True, ask_the_gpu
tf32 = torch.backends.cuda.matmul.allow_tf32
DualSelectConfig("run", tf32=True, bf16=True)
settings = parse_train_arguments(["--output_dir", "run"]).settings
settings_to_write(settings)
run_settings(METHODS["sft"], {}, "run")
read_diagnostic(None, {"output_dir": "run", "probe_data": ["builtin"], "task_data": ["builtin"]})
assert main(["train", "--help"]) == 0
assert PartialState._shared_state == {} == AcceleratorState._shared_state
assert torch.backends.cuda.matmul.allow_tf32 == tf32
assert settings.training.world_size == 1
"""


def test_making_settings_touches_nothing_global():
    done = subprocess.run([sys.executable, "-c", MAKING_SETTINGS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_other_settings_do_not_change_the_device_of_a_run(monkeypatch, tmp_path):
    """Other settings are used between those of the run and its trainer; their device stands for a GPU."""
    args = DualSelectConfig(str(tmp_path), use_cpu=True)
    assert args.device.type == "cpu"
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    assert DualSelectConfig(str(tmp_path)).device.type == PartialState().device.type == "meta"
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE")
    check_hardware(args)
    assert args.device.type == PartialState().device.type == "cpu"


@pytest.mark.parametrize("supported", [True, False])
def test_mixed_precision_is_decided_with_the_device(monkeypatch, tmp_path, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    args = DualSelectConfig(str(tmp_path))
    assert args.bf16 is None
    monkeypatch.setattr(DualSelectConfig, "device", torch.device("cuda"))
    monkeypatch.setattr(PartialState(), "device", torch.device("cuda"))
    monkeypatch.setattr(DualSelectConfig, "n_gpu", 1)
    check_hardware(args)
    assert args.bf16 is supported
    assert args.mixed_precision == ("bf16" if supported else "no")


def test_several_devices_in_one_process_are_refused_by_the_trainer(monkeypatch, tmp_path):
    monkeypatch.setattr(DualSelectConfig, "n_gpu", 4)
    with pytest.raises(ConfigError, match="4 visible GPUs in one process cannot be used: .*CUDA_VISIBLE_DEVICES=0"):
        small_trainer(tmp_path)


def test_work_that_is_not_shared_refuses_several_processes(monkeypatch, tmp_path):
    monkeypatch.setattr(DualSelectConfig, "world_size", 2)
    with pytest.raises(ConfigError, match="2 processes cannot be used: .* instead of torchrun"):
        check_hardware(DualSelectConfig(str(tmp_path), use_cpu=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"bf16": True}, "bf16: true, but this machine has no GPU: leave bf16 out, or write use_cpu: true"),
        ({"tf32": True}, "tf32: true, but this machine has no GPU with TF32"),
    ],
)
def test_number_formats_of_a_gpu_are_refused_without_one(tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        small_trainer(tmp_path, use_cpu=False, **setting)


def test_bfloat16_on_a_cpu_is_computed_when_asked_for(tmp_path):
    trainer = small_trainer(tmp_path, bf16=True)
    assert trainer.accelerator.mixed_precision == "bf16"
