"""`packing: true`: several rows in one row of the loader; every row keeps its number, its gradient and its choice."""

from collections import Counter

import pytest
import torch
from datasets import Dataset
from rows_for_tests import adapter_of, conversation_rows, events, small_trainer, trained
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from dualselect.errors import ConfigError
from dualselect.training.packing import batch_tokens, loader_rows, packed
from dualselect.training.preparation import ROW


PACKED = {"packing": True, "max_length": 96}


def rows_of(trainer, event="step"):
    return [row for line in events(trainer, event) for row in line["ids"]]


def test_packed_rows_carry_the_number_of_each_row(tmp_path):
    trainer = small_trainer(tmp_path, task=conversation_rows(61), **PACKED)
    tokens = trainer._rows["train"].tokens
    own = {row[ROW]: (row["input_ids"], row["labels"]) for row in tokens}
    seen = []
    for row in trainer.train_dataset:
        assert len(row["input_ids"]) == sum(row["seq_lengths"]) <= 96
        start = 0
        for number, length in zip(row[ROW], row["seq_lengths"], strict=True):
            part = slice(start, start + length)
            assert (row["input_ids"][part], row["labels"][part]) == own[number]
            seen.append(number)
            start += length
    assert sorted(seen) == list(range(61))
    assert len(trainer.train_dataset) < 40


def test_tokenized_rows_are_packed_with_their_numbers(tmp_path):
    rows = [{"id": f"n{size}", "input_ids": [5] * size, "labels": [-100, *[5] * (size - 1)]} for size in range(2, 32)]
    trainer = trained(tmp_path, task=Dataset.from_list(rows), max_steps=-1, num_train_epochs=2, **PACKED)
    assert len(trainer.train_dataset) < 10
    assert Counter(rows_of(trainer, "warmup") + rows_of(trainer)) == {row["id"]: 2 for row in rows}


def test_every_row_comes_up_once_in_an_epoch(tmp_path):
    trainer = trained(
        tmp_path, task=conversation_rows(61), max_steps=-1, num_train_epochs=2, gradient_accumulation_steps=2, **PACKED
    )
    assert Counter(rows_of(trainer, "warmup") + rows_of(trainer)) == {f"t{number}": 2 for number in range(61)}
    assert len({len(line["ids"]) for line in events(trainer, "step")}) > 1


@pytest.mark.parametrize(("storage", "contrast"), [("device", "compliance"), ("recompute", "none")])
def test_a_step_of_packed_rows_is_a_step_of_the_same_rows_padded(tmp_path, storage, contrast):
    common = {"max_steps": 6, "gradient_storage": storage, "reference_contrast": contrast, "max_length": 96}
    padded = trained(tmp_path / "a", per_device_train_batch_size=20, **common)
    flat = trained(tmp_path / "b", per_device_train_batch_size=20, packing=True, **common)
    for name, value in adapter_of(padded).items():
        torch.testing.assert_close(value, adapter_of(flat)[name], rtol=0, atol=1e-6)
    for line, other in zip(events(padded, "step"), events(flat, "step"), strict=True):
        assert dict(zip(line["ids"], line["kept"], strict=True)) == dict(zip(other["ids"], other["kept"], strict=True))


def test_evaluation_rows_are_packed_too_and_lose_nothing(tmp_path):
    held_out = conversation_rows(9, prefix="e")
    losses = {}
    for name, settings in {
        "packed": PACKED,
        "not": PACKED | {"eval_packing": False},
        "padded": {"max_length": 96},
    }.items():
        trainer = small_trainer(
            tmp_path / name, trainer_arguments={"eval_dataset": held_out}, per_device_eval_batch_size=9, **settings
        )
        losses[name] = trainer.evaluate()["eval_loss"]
        assert (len(trainer.eval_dataset) < 9) == (name == "packed")
    assert losses["packed"] == pytest.approx(losses["padded"], abs=1e-5)
    assert losses["not"] == pytest.approx(losses["padded"], abs=1e-5)


def test_the_storage_is_chosen_for_the_rows_in_a_packed_row(tmp_path, caplog):
    with caplog.at_level("INFO"):
        trained(tmp_path, task=conversation_rows(61), max_steps=3, **PACKED)
    assert "at most 12 rows x" in caplog.text  # 4 rows of the loader, of 3 rows at most


def test_rows_that_fill_a_packed_row_and_one_row_are_packed(tmp_path):
    trainer = small_trainer(tmp_path, task=conversation_rows(1), **PACKED)
    assert trainer.train_dataset[ROW] == [[0]]
    longest = max(len(row) for row in trainer.train_dataset["input_ids"])
    assert loader_rows(trainer._rows["train"].tokens, trainer.args)["seq_lengths"] == [[longest]]
    assert packed(trainer._rows["train"].tokens, longest)[ROW] == [[0]]


def causal_over_everything(module, query, key, value, attention_mask, **_):
    groups = query.shape[1] // key.shape[1]
    key, value = (one.repeat_interleave(groups, dim=1) for one in (key, value))
    return scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2), None


@pytest.mark.parametrize("batches", [PACKED, {"padding_free": True}])
def test_a_model_that_mixes_packed_rows_is_refused_before_the_first_step(tmp_path, batches):
    AttentionInterface.register("mixing", causal_over_everything)
    trainer = small_trainer(tmp_path, **batches)
    trainer.model.get_base_model().set_attn_implementation("mixing")
    with pytest.raises(ConfigError, match=r"does not keep packed rows apart.*Write packing: false"):
        trainer.train()
    assert not trainer.selection_log.path.exists()


def test_tokens_of_batches_with_and_without_padding():
    assert batch_tokens([3, 5, 2, 2, 7], 2, padded=True) == [10, 4, 7]
    assert batch_tokens([3, 5, 2, 2, 7], 2, padded=False) == [8, 4, 7]
