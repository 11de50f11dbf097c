"""What is chosen does not depend on how a step was split, how rows were padded, or in which order they came."""

import pytest
import torch
from rows_for_tests import adapter_of, conversation_rows, events, safe_rows, small_trainer, trained

from dualselect.training.references import start_model_of


def same_run(one, other, tolerance=1e-6):
    """The same choices at every event, and parameters within a tolerance."""
    for name, value in adapter_of(one).items():
        torch.testing.assert_close(value, adapter_of(other)[name], rtol=0, atol=tolerance)
    lines, others = one.selection_log.read(), other.selection_log.read()
    assert len(lines) == len(others)
    for line, mirrored in zip(lines, others, strict=True):
        for key in ("event", "step", "ids", "kept"):
            assert line.get(key) == mirrored.get(key)


@pytest.mark.parametrize(("size", "splits"), [(2, 2), (1, 4)])
def test_accumulation_split(tmp_path, size, splits):
    whole = trained(tmp_path / "a")
    split = trained(tmp_path / "b", per_device_train_batch_size=size, gradient_accumulation_steps=splits)
    same_run(whole, split)


def test_a_last_step_with_fewer_rows_is_selected_among_itself(tmp_path):
    whole = trained(tmp_path / "a", task=conversation_rows(18))
    split = trained(
        tmp_path / "b", task=conversation_rows(18), per_device_train_batch_size=2, gradient_accumulation_steps=2
    )
    assert [len(line["ids"]) for line in whole.selection_log.read() if line["event"] in ("warmup", "step")][4] == 2
    same_run(whole, split)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_reference_batch_size(tmp_path, size):
    same_run(trained(tmp_path / "a"), trained(tmp_path / "b", reference_batch_size=size))


@pytest.mark.parametrize(("storage", "contrast"), [("device", "compliance"), ("recompute", "none")])
def test_batches_without_padding(tmp_path, storage, contrast):
    common = {"gradient_storage": storage, "reference_contrast": contrast, "task": conversation_rows(18)}
    padded = trained(tmp_path / "a", **common)
    flat = trained(tmp_path / "b", padding_free=True, **common)
    split = trained(
        tmp_path / "c",
        padding_free=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        train_sampling_strategy="random",
        **common,
    )
    same_run(padded, flat)
    same_run(padded, split)


def test_rows_grouped_by_length_are_chosen_among_in_one_step(tmp_path):
    grouped = {"train_sampling_strategy": "group_by_length"}
    whole = trained(tmp_path / "a", **grouped)
    flat = trained(tmp_path / "b", padding_free=True, **grouped)
    same_run(whole, flat)


def test_gradient_checkpointing(tmp_path):
    same_run(trained(tmp_path / "a"), trained(tmp_path / "b", gradient_checkpointing=True))


def test_engine(tmp_path):
    same_run(trained(tmp_path / "a"), trained(tmp_path / "b", gradient_engine="sequential"), tolerance=1e-5)


def test_padding_side_of_the_tokenizer(tmp_path):
    whole, left = small_trainer(tmp_path / "a"), small_trainer(tmp_path / "b")
    left.processing_class.padding_side = "left"
    whole.train()
    left.train()
    same_run(whole, left)


def test_order_of_the_pool(tmp_path):
    pool = safe_rows(10)
    one = trained(tmp_path / "a", reference_top_k=3)
    other = trained(tmp_path / "b", reference_top_k=3, references=pool.select(range(9, -1, -1)))
    for line, mirrored in zip(events(one, "refresh"), events(other, "refresh"), strict=True):
        found, expected = (
            {name for name, kept in zip(entry["ids"], entry["kept"], strict=True) if kept}
            for entry in (mirrored, line)
        )
        assert found == expected
    for name, value in adapter_of(one).items():
        torch.testing.assert_close(value, adapter_of(other)[name], rtol=0, atol=1e-5)


def test_references_are_scored_without_dropout_and_leave_the_model_as_it_was(tmp_path):
    trainer = small_trainer(tmp_path, dropout=0.5, preservation_loss="ce")
    model = trainer.model.train()
    direction = torch.ones(trainer._layout.size)
    modes = {name: module.training for name, module in model.named_modules()}
    first, second = (
        trainer.pool.score(model, direction, start_losses=None, start_model=start_model_of(trainer.model))
        for _ in range(2)
    )
    assert torch.equal(first.scores, second.scores)
    assert modes == {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(0)
    before = torch.get_rng_state()
    trainer.pool.directions(model, trainer.pool.choose(first.scores))
    assert torch.equal(before, torch.get_rng_state())
