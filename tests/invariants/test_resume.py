"""A run that is resumed is the run that was never stopped, bit for bit, dropout included."""

import shutil

import pytest
import torch
from rows_for_tests import adapter_of, conversation_rows, safe_rows, small_trainer, trained

from dualselect.errors import ResumeError
from dualselect.training.state import STATE_FILE


SETTINGS = {"dropout": 0.1, "save_strategy": "steps", "save_steps": 1, "max_steps": 14}  # five steps to an epoch


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return trained(folder, **SETTINGS), folder


def resumed(whole, tmp_path, step, **changes):
    shutil.copytree(whole[1], tmp_path / "run")
    trainer = small_trainer(tmp_path / "run", **(SETTINGS | changes))
    trainer.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{step}"))
    return trainer


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 10, 13], ids=lambda step: f"after-{step}")
def test_bit_for_bit(whole, tmp_path, step):
    """1 in the warm-up, 2 before the first refresh, 3 and 7 in the middle of an epoch, 5 and 10 between two."""
    again = resumed(whole, tmp_path, step)
    for name, value in adapter_of(whole[0]).items():
        assert torch.equal(value, adapter_of(again)[name])
    assert again.selection_log.path.read_bytes() == whole[0].selection_log.path.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"reference_gradient": "replay", "reference_top_k": 6, "reference_replay_size": 2},
        {"task_token_budget": "auto", "reference_contrast": "compliance", "harmless_drop_rate": 0.2},
        {"selection_mode": "soft", "preservation_loss": "kl", "gradient_accumulation_steps": 2},
        {"train_sampling_strategy": "group_by_length"},
        {"padding_free": True, "gradient_storage": "recompute"},
        {"packing": True, "max_length": 96, "gradient_accumulation_steps": 2},
    ],
    ids=["replay", "auto", "soft", "by-length", "without-padding", "packing"],
)
def test_other_modes_resume_bit_for_bit(tmp_path, changes):
    settings = SETTINGS | changes
    first = trained(tmp_path / "run", **settings)
    again = small_trainer(tmp_path / "run", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-8"))
    for name, value in adapter_of(first).items():
        assert torch.equal(value, adapter_of(again)[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rho": 0.5}, "rho 0.2 then, 0.5 now"),
        ({"learning_rate": 0.02}, "learning_rate 0.01 then, 0.02 now"),
        ({"task": conversation_rows(19)}, "task rows"),
        ({"task": conversation_rows(20, "Another answer to {number}.")}, "tokens of the task rows"),
        ({"references": conversation_rows(10, "Sure, {number}.", "r")}, "tokens of the reference rows"),
        ({"references": safe_rows(9)}, "reference rows"),
        ({"architecture": "qwen3"}, "shapes"),
    ],
    ids=["setting", "training", "task", "answers", "references", "pool", "model"],
)
def test_another_run_is_refused(whole, tmp_path, changes, message):
    with pytest.raises(ResumeError, match=message):
        resumed(whole, tmp_path, 7, **changes)


def test_a_checkpoint_without_state_or_with_a_broken_one_is_refused(whole, tmp_path):
    shutil.copytree(whole[1], tmp_path / "run")
    state = tmp_path / "run" / "checkpoint-7" / STATE_FILE
    trainer = small_trainer(tmp_path / "run", **SETTINGS)
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(ResumeError, match=r"dualselect_state.safetensors has 100 bytes"):
        trainer.train(resume_from_checkpoint=str(state.parent))
    state.unlink()
    with pytest.raises(ResumeError, match=r"dualselect_state.safetensors is missing"):
        trainer.train(resume_from_checkpoint=str(state.parent))
