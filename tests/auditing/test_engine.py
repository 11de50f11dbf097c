"""The short trainings of an audit."""

import torch
from models_for_tests import tiny_model
from peft import LoraConfig
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.auditing.engine import adapted


def trained(folder, max_grad_norm):
    """The adapter before and after two steps."""
    config = DualSelectConfig(
        str(folder),
        max_grad_norm=max_grad_norm,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
    )
    rows = [{"input_ids": [5, 6, 7, number], "labels": [-100, -100, 7, number]} for number in (8, 9)]
    model = tiny_model("llama", len(chatml_tokenizer()))
    with adapted(model, LoraConfig(r=2, target_modules=["q_proj"]), 0, config) as engine:
        before = engine.parameters()
        engine.train(rows, 2, "Test")
        return before, engine.parameters()


def test_a_norm_of_zero_clips_nothing(tmp_path):
    before, unclipped = trained(tmp_path, 0)
    assert not torch.equal(before, unclipped)
    assert torch.equal(unclipped, trained(tmp_path, 1e9)[1])
    assert not torch.allclose(unclipped, trained(tmp_path, 1e-9)[1], atol=1e-4)
