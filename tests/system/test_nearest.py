"""The name that was probably meant: by the words of other programs, by edit distance, by beginning."""

import pytest

from dualselect.runs.settings import setting_types
from dualselect.system.nearest import OTHER_NAMES, nearest


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("--model", "model_name_or_path"),
        ("-m", "model_name_or_path"),
        ("--modle", "model_name_or_path"),
        ("--model_name", "model_name_or_path"),
        ("--lr", "learning_rate"),
        ("-lr", "learning_rate"),
        ("--learning-rat=1e-4", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("--epochs", "num_train_epochs"),
        ("--num-epochs", "num_train_epochs"),
        ("--train_epochs", "num_train_epochs"),
        ("--batch-size", "per_device_train_batch_size"),
        ("--output", "output_dir"),
        ("-o", "output_dir"),
        ("--reference", "reference_data"),
        ("--task", "task_data"),
        ("--gradient-accumulation", "gradient_accumulation_steps"),
        ("--refernce_fraction", "reference_fraction"),
        ("--LoRA_R", "lora_r"),
        ("--top_k", "reference_top_k"),
        ("rhoo", "rho"),
    ],
)
def test_a_setting_that_was_meant_is_found(given, meant):
    assert nearest(given, setting_types()) == meant


def test_what_is_like_nothing_stays_alone():
    assert nearest("zzzzqqqq", setting_types()) is None
    assert nearest("--", setting_types()) is None
    assert nearest("x", []) is None


def test_other_names_lead_to_names_that_there_are():
    assert set(OTHER_NAMES.values()) - set(setting_types()) <= {"config", "eval_data"}
    assert not set(OTHER_NAMES) & set(setting_types())
