"""Where per-example gradients are kept: the same choices and parameters everywhere."""

import logging
from types import SimpleNamespace

import psutil
import pytest
import torch
from rows_for_tests import adapter_of, small_trainer, trained

from dualselect.models.segments import examples_of
from dualselect.training.preparation import ROW


def choices(trainer):
    return [(line["event"], line["step"], line.get("ids"), line.get("kept")) for line in trainer.selection_log.read()]


@pytest.fixture(scope="module")
def on_device(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("device"), gradient_storage="device")


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("storage", ["host", "recompute"])
def test_the_same_run_with_every_storage(tmp_path, on_device, storage, accumulation):
    other = trained(
        tmp_path,
        gradient_storage=storage,
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    assert choices(other) == choices(on_device)
    assert any(not all(line["kept"]) for line in other.selection_log.read() if line["event"] == "step")
    for name, value in adapter_of(on_device).items():
        torch.testing.assert_close(value, adapter_of(other)[name], rtol=0, atol=1e-6)


def test_soft_weights_are_recomputed_alike(tmp_path):
    one, other = (
        trained(tmp_path / storage, gradient_storage=storage, selection_mode="soft", task_top_k=3)
        for storage in ("device", "recompute")
    )
    assert choices(one) == choices(other)
    for name, value in adapter_of(one).items():
        torch.testing.assert_close(value, adapter_of(other)[name], rtol=0, atol=1e-6)


def test_recompute_holds_no_gradient_of_an_example(tmp_path):
    trainer = small_trainer(tmp_path, gradient_storage="recompute", per_device_train_batch_size=2)
    trainer.args.gradient_accumulation_steps = 2
    trainer.train()
    held = trainer._no_examples()
    inputs = trainer.data_collator([trainer.train_dataset[row] for row in range(2)])
    rows = inputs.pop(ROW)
    held.add(trainer.model, inputs, trainer._task_losses, rows, None)
    assert all(part.gradients is None for part in held._parts)
    stats = held.stats()
    assert (stats.gradient_norms > 0).all()


def test_bfloat16_is_half_the_memory_and_near(tmp_path, on_device):
    other = trained(tmp_path, gradient_dtype="bfloat16")
    for name, value in adapter_of(on_device).items():
        assert (value - adapter_of(other)[name]).norm() <= 0.05 * value.norm()


@pytest.mark.parametrize(
    ("needed_of_free", "storage"), [(0.2, "device"), (0.3, "recompute")], ids=["fits", "does-not-fit"]
)
def test_auto_decides_by_free_memory_and_says_why(tmp_path, caplog, monkeypatch, needed_of_free, storage):
    caplog.set_level(logging.INFO)
    trainer = small_trainer(tmp_path, gradient_accumulation_steps=3, max_steps=3, selection_warmup_steps=1)
    size = trainer._layout.size
    free = int(12 * size * 4 / needed_of_free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    trainer.train()
    assert f"12 rows x {size:,} parameters x 4 bytes" in caplog.text
    assert f"gradient_storage: {storage} (auto: " in caplog.text
    assert trainer._storage == storage == trainer._loop.gradient_storage


def test_dropout_in_a_second_backward_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trained(tmp_path, gradient_storage="recompute", dropout=0.1, max_steps=4)
    assert "dropout draws different masks" in caplog.text


def test_a_resumed_run_keeps_what_auto_chose(tmp_path, monkeypatch):
    small_trainer(tmp_path, save_strategy="steps", save_steps=4, max_steps=4, gradient_storage="auto").train()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1))
    resumed = small_trainer(tmp_path, save_strategy="steps", save_steps=4, max_steps=8, gradient_storage="auto")
    resumed.train(resume_from_checkpoint=True)
    assert resumed._storage == "device"


def test_examples_of_a_batch_lose_their_padding():
    inputs = {
        "input_ids": torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0], [6, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]),
        "other": 7,
    }
    kept = examples_of(inputs, torch.tensor([1, 2]))
    assert kept["input_ids"].tolist() == [[4, 5], [6, 0]]
    assert kept["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert kept["other"] == 7
