"""The length of a run, computed, is the length of the run."""

import pytest
from rows_for_tests import conversation_rows, events, small_trainer

from dualselect.preflight.length import run_length


CASES = [
    {"max_steps": 7, "save_strategy": "steps", "save_steps": 3},
    {"max_steps": -1, "num_train_epochs": 3, "save_strategy": "epoch", "save_total_limit": 1},
    {
        "max_steps": -1,
        "num_train_epochs": 2.5,
        "selection_warmup_steps": 6,
        "save_strategy": "steps",
        "save_steps": 0.3,
    },
    {"max_steps": 13, "gradient_accumulation_steps": 2, "selection_warmup_steps": 3},
    {"max_steps": 13, "dataloader_drop_last": True},
    {"max_steps": 12, "reference_refresh": "steps", "reference_refresh_steps": 3},
    {"max_steps": 11, "reference_refresh": "steps", "reference_refresh_steps": 3},
]


@pytest.mark.parametrize("settings", CASES)
def test_steps_refreshes_and_checkpoints(tmp_path, settings):
    trainer = small_trainer(tmp_path, task=conversation_rows(22), **settings)
    trainer.train()
    length = run_length(trainer.args, 22)
    assert length.steps == trainer.state.global_step == trainer.state.max_steps
    assert length.warmup_steps == len(events(trainer, "warmup"))
    assert length.refreshes == len(events(trainer, "refresh"))
    kept = len(list(tmp_path.glob("checkpoint-*")))
    assert kept == min(length.checkpoints, settings.get("save_total_limit", length.checkpoints))
    assert kept <= length.kept_checkpoints <= kept + 1
