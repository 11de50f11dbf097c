"""Settings between files and classes: types, and the way back."""

import pytest
import yaml

from dualselect.cli.parser import parse_train_arguments
from dualselect.errors import ConfigError, ModelError
from dualselect.runs.config_file import read_config, write_config
from dualselect.runs.model import load_run_model
from dualselect.runs.settings import setting_choices, settings_to_write, typed_value


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("learning_rate", "2e-5", 2e-5),  # YAML 1.1 reads it as text
        ("learning_rate", 1, 1.0),
        ("max_steps", 1e3, 1000),
        ("task_token_budget", 0.75, "0.75"),
        ("save_strategy", False, "no"),  # YAML 1.1 reads no as false
        ("lora_target_modules", "all-linear", ["all-linear"]),
        ("reference_top_k", None, None),
        ("packing", "true", True),
        ("gradient_checkpointing_kwargs", {"use_reentrant": False}, {"use_reentrant": False}),
    ],
)
def test_what_a_file_says_becomes_what_the_setting_is(name, written, meant):
    found = typed_value(name, written, "file")
    assert found == meant
    assert type(found) is type(meant)


@pytest.mark.parametrize(
    ("name", "written", "wanted"),
    [
        ("conflict_weight", "much", "a number"),
        ("conflict_weight", True, "a number"),
        ("conflict_weight", None, "a number"),
        ("max_steps", 1.5, "an integer"),
        ("packing", 3, "true or false"),
        ("task_data", 5, "a list"),
        ("correction", "push", "one of add, project, project_add, none"),
        ("lr_scheduler_type", "constnt", "one of linear, cosine"),
    ],
)
def test_what_it_cannot_be_is_refused_by_name(name, written, wanted):
    with pytest.raises(ConfigError) as refused:
        typed_value(name, written, "file.yaml")
    for words in ("file.yaml", name, repr(written), wanted):
        assert words in str(refused.value)


def test_choices_of_transformers_are_known_where_trl_hides_them():
    assert "cosine" in setting_choices("lr_scheduler_type")
    assert "adamw_torch" in setting_choices("optim")
    assert setting_choices("learning_rate") == ()


def test_written_settings_are_read_as_the_same_settings(tmp_path):
    arguments = (
        "--use_cpu --task_data a b[0:3] --reference_data c --rho 0.7 --task_token_budget 0.5 --optim sgd --run_name x "
        "--lora_target_modules q_proj --lr_scheduler_type cosine --save_strategy no --report_to none --max_steps 7 "
        "--gradient_checkpointing true --adam_beta2 0.95"
    ).split()
    before = parse_train_arguments([*arguments, "--output_dir", str(tmp_path)]).settings
    write_config(tmp_path / "config.yaml", settings_to_write(before), {"versions": {}})
    after = parse_train_arguments(["--config", str(tmp_path / "config.yaml")])
    assert after.record == {"versions": {}}
    assert after.settings.data == before.data
    assert after.settings.model == before.model
    assert after.settings.training.to_dict() == before.training.to_dict()


def test_a_token_and_the_place_of_the_run_are_not_written(tmp_path):
    request = parse_train_arguments(["--use_cpu", "--output_dir", str(tmp_path), "--hub_token", "private"])
    written = yaml.safe_dump(settings_to_write(request.settings))
    assert "private" not in written
    assert str(tmp_path) not in written


def test_a_moved_run_is_found_where_its_config_is(tmp_path):
    settings = parse_train_arguments(["--use_cpu", "--output_dir", "elsewhere"]).settings
    write_config(tmp_path / "moved" / "config.yaml", settings_to_write(settings), {})
    assert read_config(tmp_path / "moved" / "config.yaml").settings["output_dir"] == str(tmp_path / "moved")


def test_the_model_is_loaded_in_the_format_of_the_gpu_unless_use_cpu_leaves_it_alone(monkeypatch, tmp_path):
    """An 8B model in float32 would fill the memory of most GPUs; `auto` is what load_model has as its default too."""
    taken = []

    def load(name, *, dtype, **_):
        taken.append(dtype)
        raise ModelError("only the format is looked at")

    monkeypatch.setattr("dualselect.runs.model.load_model", load)
    for flags in (["--output_dir", str(tmp_path)], ["--output_dir", str(tmp_path), "--use_cpu"]):
        settings = parse_train_arguments(flags).settings
        assert settings.model.dtype == "auto"
        with pytest.raises(ModelError):
            load_run_model(settings)
    assert taken == ["auto", "float32"]
