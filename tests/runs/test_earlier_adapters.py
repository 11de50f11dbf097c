"""Runs that start from the adapters of earlier runs."""

import json

import pytest
import torch
import yaml
from models_for_tests import saved_model
from safetensors.torch import load_file, save_file

from dualselect.cli.main import main
from dualselect.errors import ConfigError, ModelError
from dualselect.evaluation.local_model import find_model, load_local_model
from dualselect.methods import METHODS, fine_tune
from dualselect.runs.settings import LoraModelConfig


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    saved_model(folder / "model")
    rows = [{"id": f"t{n}", "question": f"question {n}?", "answer": f"It is {n}."} for n in range(8)]
    (folder / "task.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model_name_or_path": str(folder / "model"),
        "task_data": [str(folder / "task.jsonl")],
        "per_device_train_batch_size": 4,
        "num_train_epochs": 1,
        "learning_rate": "1e-2",
        "max_length": 128,
        "lora_r": 4,
        "lora_dropout": 0.0,
        "logging_steps": 1,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
    }


@pytest.fixture(scope="module")
def first(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    fine_tune(METHODS["sft"], settings, folder)
    return folder


def logits_of(folder):
    model, tokenizer = load_local_model(find_model(str(folder)))
    tokens = tokenizer("a question", return_tensors="pt").input_ids
    with torch.no_grad():
        return model(tokens).logits


def still(settings):
    """Settings under which training changes nothing."""
    return settings | {"learning_rate": 0.0, "weight_decay": 0.0}


def test_a_continued_adapter_starts_where_the_earlier_run_ended(settings, first, tmp_path):
    fine_tune(METHODS["sft"], still(settings) | {"start_adapter": str(first)}, tmp_path / "same")
    before, after = (
        load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (first, tmp_path / "same")
    )
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    fine_tune(METHODS["sft"], settings | {"start_adapter": str(first), "lora_r": 16}, tmp_path / "further")
    further = load_file(tmp_path / "further" / "adapter" / "adapter_model.safetensors")
    assert {name: value.shape for name, value in further.items()} == {n: v.shape for n, v in before.items()}
    assert any(not torch.equal(value, further[name]) for name, value in before.items())


def test_merged_adapters_are_part_of_the_model_in_training_and_evaluation(settings, first, tmp_path):
    fine_tune(METHODS["sft"], still(settings) | {"merged_adapters": [str(first)]}, tmp_path / "on_top")
    torch.testing.assert_close(logits_of(tmp_path / "on_top"), logits_of(first), atol=1e-5, rtol=1e-5)
    losses = [
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (first, tmp_path / "on_top")
    ]
    assert losses[1] < losses[0] - 0.01  # its first step sees what the first run has learned


def test_dualselect_continues_an_adapter(settings, first, tmp_path, capsys):
    (tmp_path / "safe.jsonl").write_text(
        "".join(json.dumps({"prompt": f"bad {n}?", "completion": "I cannot help."}) + "\n" for n in range(8))
    )
    config = still(settings) | {
        "reference_data": [str(tmp_path / "safe.jsonl")],
        "task_token_budget": "0.9",
        "reference_contrast": "none",
        "selection_warmup_steps": 1,
        "start_adapter": str(first),
        "output_dir": str(tmp_path / "run"),
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", "--config", str(tmp_path / "config.yaml")]) == 0
    torch.testing.assert_close(logits_of(tmp_path / "run"), logits_of(first))
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["start_adapter"] == str(first / "adapter")
    assert list(written["dualselect_run"]["model"]["adapters"]) == [str(first / "adapter")]


def test_a_changed_adapter_is_another_run(settings, first, tmp_path, caplog):
    copy = tmp_path / "adapter"
    copy.mkdir()
    for file in (first / "adapter").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    fine_tune(METHODS["sft"], still(settings) | {"start_adapter": str(copy)}, tmp_path / "run")
    weights = load_file(copy / "adapter_model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, copy / "adapter_model.safetensors")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    recorded = config["dualselect_run"]["model"]["adapters"]
    from dualselect.methods.fine_tune import run_settings
    from dualselect.runs.record import adapters_sha256

    again = run_settings(METHODS["sft"], settings | {"start_adapter": str(copy)}, tmp_path / "again")
    assert adapters_sha256(again)["adapters"] != recorded


@pytest.mark.parametrize("setting", ["start_adapter", "merged_adapters"])
def test_a_folder_without_an_adapter_is_refused_by_name(settings, setting, tmp_path):
    value = str(tmp_path) if setting == "start_adapter" else [str(tmp_path)]
    with pytest.raises(ModelError, match="holds no adapter"):
        fine_tune(METHODS["sft"], settings | {setting: value}, tmp_path / "run")


def test_an_adapter_of_another_model_is_refused(settings, first, tmp_path):
    saved_model(tmp_path / "other", "qwen3")
    with pytest.raises(ModelError, match="could not be put on"):
        fine_tune(
            METHODS["sft"],
            settings | {"start_adapter": str(first), "model_name_or_path": str(tmp_path / "other")},
            tmp_path / "run",
        )


def test_whole_layers_cannot_continue_an_adapter():
    with pytest.raises(ConfigError, match="start_adapter"):
        LoraModelConfig(use_peft=False, start_adapter="run")
