"""Sizes on the disk, computed before and measured after."""

from pathlib import Path

import pytest
from models_for_tests import tiny_model
from peft import LoraConfig
from rows_for_tests import conversation_rows, safe_rows
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig, DualSelectTrainer
from dualselect.models.whole_layers import train_whole_layers
from dualselect.preflight.disk import (
    SMALL_FILES,
    checkpoint_bytes,
    counted,
    existing,
    final_bytes,
    in_units,
    weight_bytes,
)


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("settings", [{"reference_contrast": "none", "task_token_budget": 0.9}, {}, {"optim": "sgd"}])
def test_a_checkpoint_has_the_computed_size(tmp_path, settings, adapter):
    tokenizer = chatml_tokenizer()
    common = {"max_steps": 4, "selection_warmup_steps": 1, "save_steps": 2, "use_cpu": True, "disable_tqdm": True}
    common |= {"harmless_drop_rate": 0.2}
    model = tiny_model("llama", len(tokenizer))
    if not adapter:
        train_whole_layers(model, "all-linear")
    trainer = DualSelectTrainer(
        model,
        DualSelectConfig(str(tmp_path), gradient_checkpointing=False, **common, **settings),
        train_dataset=conversation_rows(8),
        reference_dataset=safe_rows(4),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=512, target_modules=["q_proj", "v_proj"]) if adapter else None,
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trainable = sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    weights = weight_bytes(trainer.model)
    assert trainable * 4 > SMALL_FILES
    for folder, computed in (
        ("checkpoint-4", checkpoint_bytes(trainer.args, trainable, weights, tokenizer)),
        ("adapter", final_bytes(weights, tokenizer)),
    ):
        measured = sum(file.stat().st_size for file in (tmp_path / folder).iterdir())
        assert computed - SMALL_FILES <= measured <= computed + SMALL_FILES


def test_words_for_numbers():
    assert [in_units(count) for count in (12, 1500, 2_000_000, 24e9, 3e12)] == [
        "12 B",
        "1.5 KB",
        "2.0 MB",
        "24.0 GB",
        "3.0 TB",
    ]
    assert [counted(1, "step"), counted(2, "step"), counted(0, "refresh")] == ["1 step", "2 steps", "0 refreshes"]


def test_the_nearest_folder_that_exists(tmp_path):
    assert existing(tmp_path / "a" / "b") == tmp_path
    assert existing(Path()) == Path.cwd()
