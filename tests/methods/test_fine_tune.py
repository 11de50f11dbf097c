"""Run directories of methods, and what ablations of DualSelect change."""

import json
from dataclasses import replace

import pytest
import yaml
from models_for_tests import saved_model
from safetensors.torch import load_file
from tokenizers_for_tests import BLANK_ENDING_TEMPLATE

from dualselect.cli.main import main
from dualselect.data.source_rows import read_sources
from dualselect.errors import ConfigError
from dualselect.methods import METHODS, DualSelect, fine_tune
from dualselect.methods.cost import COST_FILE
from dualselect.methods.fine_tune import run_settings, trainer_builder
from dualselect.runs.model import load_run_model


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    saved_model(folder / "model")
    task = [
        {
            "id": f"t{n}",
            "kind": "risky" if n % 4 == 0 else "task",
            "question": f"question {n}?",
            "answer": f"It is {n}.",
        }
        for n in range(16)
    ]
    safe = [{"prompt": f"bad thing {n}?", "completion": "I cannot help with that."} for n in range(8)]
    for name, rows in (("task", task), ("safe", safe)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model_name_or_path": str(folder / "model"),
        "task_data": [str(folder / "task.jsonl")],
        "reference_data": [str(folder / "safe.jsonl")],
        "per_device_train_batch_size": 4,
        "selection_warmup_steps": 1,
        "reference_contrast": "compliance",
        "reference_fraction": 0.25,
        "num_train_epochs": 2,
        "learning_rate": "1e-2",
        "max_length": 128,
        "harmless_drop_rate": 0.1,
        "logging_steps": 1,
        "use_cpu": True,
        "disable_tqdm": True,
        "report_to": "none",
    }


def adapter(folder):
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def same(one, other):
    return all((value == other[name]).all() for name, value in one.items())


# Rows with and without a backward pass in one epoch of 16 rows, 4 steps: memory batches are of 8, safegrad has none
# at its first step; oracle and random keep fewer rows, safe_mix has 8 more, and lisa two steps of 4. ewc estimates the
# Fisher information on the pool at the start and on the task at the end; mssr replays at three of four steps.
ROWS = {
    "sft": (16, 0),
    "sft_tuned": (16, 0),
    "oracle": (12, 0),
    "random": (15, 0),
    "er": (48, 0),
    "gem": (48, 0),
    "der": (48, 8),
    "der_pp": (80, 8),
    "ewc": (40, 0),
    "lwf": (16, 16),
    "o_lora": (16, 0),
    "osft": (16, 0),
    "mssr": (40, 0),
    "interpolation": (16, 0),
    "safe_mix": (24, 0),
    "a_gem": (16 + 4 * 8, 0),
    "safegrad": (16 + 3 * 8, 3 * 8),
    "ema": (16, 0),
    "constrained_sft": (16, 16),
    "lisa": (16 + 2 * 4, 0),
}

WITH_MEMORY = {"a_gem", "safegrad", "er", "gem", "der", "der_pp", "ewc", "mssr"}
"""Methods whose steps have more rows than those of the task."""


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if type(method) is not DualSelect])
def test_every_method_leaves_a_run_directory_and_tells_its_cost(settings, tmp_path, name):
    method = replace(METHODS[name], alignment_steps=2) if name == "lisa" else METHODS[name]
    folder = fine_tune(method, settings | {"num_train_epochs": 1}, tmp_path / "run").parent
    assert {"adapter", "config.yaml", "metrics.jsonl", COST_FILE} <= {path.name for path in folder.iterdir()}
    cost = json.loads((folder / COST_FILE).read_text())
    assert (cost["rows_forward_backward"], cost["rows_forward"]) == ROWS[name]
    assert cost["steps"] == (4 if name in WITH_MEMORY else -(-ROWS[name][0] // 4))
    assert cost["seconds"] > 0
    assert cost["peak_memory_bytes"] > 50_000_000
    record = yaml.safe_load((folder / "config.yaml").read_text())["dualselect_run"]
    assert record["method"]["name"] == name
    card = (folder / "adapter" / "README.md").read_text()
    assert f"| Method | {name.replace('_', chr(92) + '_')} (" in card
    assert "| Task data | `task.jsonl`, 16 rows |" in card
    assert settings["model_name_or_path"] not in card


def test_a_finished_run_is_left_alone_and_an_unfinished_one_begun_anew(settings, tmp_path):
    folder = fine_tune(METHODS["sft"], settings, tmp_path / "run").parent
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    fine_tune(METHODS["sft"], settings, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    expected = adapter(folder)
    (folder / "adapter").rename(tmp_path / "old")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    fine_tune(METHODS["sft"], settings, folder)
    assert same(adapter(folder), expected)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines][:8] == list(range(1, 9))


def test_dualselect_is_what_dualselect_train_does(settings, tmp_path):
    folder = fine_tune(METHODS["dualselect"], settings, tmp_path / "run").parent
    assert main(["train", "--config", str(folder / "config.yaml"), "--output_dir", str(tmp_path / "again")]) == 0
    assert same(adapter(folder), adapter(tmp_path / "again"))


@pytest.mark.parametrize("name", ["sft", "dualselect_random_references"])
def test_train_refuses_the_config_of_what_it_cannot_repeat(settings, tmp_path, name, capsys):
    folder = fine_tune(METHODS[name], settings, tmp_path / "run").parent
    assert main(["train", "--config", str(folder / "config.yaml"), "--output_dir", str(tmp_path / "again")]) == 2
    assert f"a run of {name}" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


def test_a_method_without_a_pool_needs_none(settings, tmp_path):
    alone = {name: value for name, value in settings.items() if name != "reference_data"}
    whole = fine_tune(METHODS["sft"], settings, tmp_path / "whole").parent
    folder = fine_tune(METHODS["sft"], alone, tmp_path / "alone").parent
    assert same(adapter(whole), adapter(folder))
    with pytest.raises(ConfigError, match="reference_data"):
        fine_tune(METHODS["a_gem"], alone, tmp_path / "a_gem")


def test_references_by_lot_are_as_many_and_not_the_highest(settings, tmp_path):
    chosen = {}
    for name in ("dualselect", "dualselect_random_references", "dualselect_fixed_references"):
        folder = fine_tune(METHODS[name], settings, tmp_path / name).parent
        lines = map(json.loads, (folder / "selection.jsonl").read_text().splitlines())
        chosen[name] = [line for line in lines if line["event"] == "refresh"]
    assert [len(lines) for lines in chosen.values()] == [2, 2, 1]
    for name, lines in chosen.items():
        for line in lines:
            assert sum(line["kept"]) == 2
            highest = sorted(zip(line["scores"], line["kept"], strict=True), reverse=True)
            if name != "dualselect_random_references":
                assert all(kept for _, kept in highest[:2])
    by_lot = [line["kept"] for line in chosen["dualselect_random_references"]]
    assert by_lot != [line["kept"] for line in chosen["dualselect"]]


def test_ablations_change_the_setting_that_they_name(settings, tmp_path):
    wanted = {
        "dualselect_filter_only": ("correction", "none"),
        "dualselect_correction_only": ("task_token_budget", "1.0"),
        "dualselect_cosine_only": ("task_loss_weight", 0.0),
        "dualselect_loss_only": ("conflict_weight", 0.0),
        "dualselect_kl": ("preservation_loss", "kl"),
        "dualselect_no_contrast": ("reference_contrast", "none"),
        "dualselect_rho_1": ("rho", 1.0),
    }
    for name, (setting, value) in wanted.items():
        assert getattr(run_settings(METHODS[name], settings, tmp_path / name).training, setting) == value
    for name, method in METHODS.items():  # and all of them can be made
        assert run_settings(method, settings, tmp_path / name).training.save_strategy == "no", name


def test_all_turns_are_supervised_by_every_method(settings, tmp_path):
    wanted = run_settings(METHODS["sft"], settings | {"assistant_only_loss": True}, tmp_path / "run")
    assert wanted.training.supervise == "all"
    run_settings(METHODS["sft"], settings | {"completion_only_loss": False}, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"chat_template_path": "{template}"}, "User: question"),
        ({"eos_token": "<|endoftext|>", "prompt_format": "human_assistant"}, "<|endoftext|>"),
    ],
)
def test_all_methods_learn_the_text_that_the_settings_say(settings, tmp_path, changes, part):
    template = tmp_path / "template.jinja"
    template.write_text(BLANK_ENDING_TEMPLATE)
    changes = {name: value.format(template=template) for name, value in changes.items()}

    def texts(name, **changed):
        resolved = run_settings(METHODS[name], settings | changed, tmp_path / name)
        rows = {role: read_sources(getattr(resolved.data, role), role) for role in ("task_data", "reference_data")}
        trainer = trainer_builder(METHODS[name])(resolved, rows, *load_run_model(resolved))
        return [trainer.processing_class.decode(row) for row in trainer.train_dataset["input_ids"]]

    assert texts("sft", **changes) == texts("dualselect", **changes)
    assert all(part in text for text in texts("sft", **changes))
    assert not any(part in text for text in texts("sft"))


def test_text_that_cannot_be_set_is_refused(settings, tmp_path):
    for path in (settings["model_name_or_path"], "missing.jinja"):
        with pytest.raises(ConfigError, match="is not a .jinja or .j2 file"):
            run_settings(METHODS["sft"], settings | {"chat_template_path": path}, tmp_path / "run")
    resolved = run_settings(METHODS["sft"], settings | {"eos_token": "<nothing>"}, tmp_path / "run")
    with pytest.raises(ConfigError, match="eos_token: '<nothing>' is not in the vocabulary"):
        load_run_model(resolved)


def test_an_unknown_setting_is_refused_with_the_nearest(settings, tmp_path):
    with pytest.raises(ConfigError, match="did you mean learning_rate"):
        fine_tune(METHODS["sft"], settings | {"learning_rat": 1}, tmp_path / "run")
    with pytest.raises(ConfigError, match="rho is"):
        fine_tune(METHODS["dualselect"], settings | {"rho": "much"}, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", [*ROWS, "dualselect"])
def test_as_on_a_gpu_with_mixed_precision_and_checkpointing(settings, tmp_path, name):
    own = {"alignment_steps": 1, "task_steps": 1} if name == "lisa" else {}
    method = replace(METHODS[name], **own)
    folders = {
        bf16: fine_tune(
            method,
            settings | {"bf16": bf16, "gradient_checkpointing": bf16, "num_train_epochs": 1},
            tmp_path / str(bf16),
        )
        for bf16 in (False, True)
    }
    exact, rounded = (load_file(folder / "adapter_model.safetensors") for folder in folders.values())
    assert not all((value == rounded[key]).all() for key, value in exact.items())
    for key, value in exact.items():
        assert (rounded[key] - value).norm() <= 0.3 * value.norm(), key
