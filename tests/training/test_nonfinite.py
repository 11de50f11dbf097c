"""Rows whose loss or gradient is NaN: taken out by index, counted, and the run goes on."""

import logging
import math

import pytest
import torch
from rows_for_tests import adapter_of, conversation_rows, events, safe_rows, small_trainer

from dualselect.errors import GradientError


POISON = "~"
"""A character whose embedding is made NaN: rows that hold it have no finite loss, and no other row is touched."""


def poisoned(rows, *positions):
    def poison(row, number):
        turns = row["messages"]
        if number in positions:
            turns[0]["content"] += POISON
        return {"messages": turns}

    return rows.map(poison, with_indices=True)


def poisoned_trainer(folder, *, task=(), references=(), **settings):
    trainer = small_trainer(
        folder,
        task=poisoned(conversation_rows(20), *task),
        references=poisoned(safe_rows(10), *references),
        **settings,
    )
    (token,) = trainer.processing_class(POISON, add_special_tokens=False)["input_ids"]
    trainer.model.get_input_embeddings().weight.data[token] = math.nan
    return trainer


def test_a_row_that_is_not_finite_is_taken_out_and_the_rest_is_learnt_from(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = poisoned_trainer(tmp_path, task=[3], max_steps=10)
    trainer.train()
    out = events(trainer, "nonfinite")
    assert {name for line in out for name in line["ids"]} == {"t3"}
    assert trainer._loop.totals.nonfinite_rows == len(out) == 2  # 40 rows are two passes over 20
    with_it = {line["step"] for line in out}
    lines = [line for line in trainer.selection_log.read() if line["event"] in ("warmup", "step")]
    assert all(len(line["ids"]) == (3 if line["step"] in with_it else 4) for line in lines)
    assert all("t3" not in line["ids"] for line in lines)
    assert all(torch.isfinite(value).all() for value in adapter_of(trainer).values())
    assert "is not finite for 1 of 4 rows (row ids: t3): they are left out" in caplog.text
    assert "2 rows with a loss or gradient that is not finite were left out" in caplog.text


def test_the_update_is_the_one_without_the_row(tmp_path):
    """The step with the bad row gives what the same step without the row gives."""
    adapters = []
    for name, rows in (("with", [0, 1, 2, 3]), ("without", [0, 1, 2])):
        task = poisoned(conversation_rows(4), 3).select(rows)
        trainer = small_trainer(tmp_path / name, task=task, max_steps=3, per_device_train_batch_size=len(rows))
        (token,) = trainer.processing_class(POISON, add_special_tokens=False)["input_ids"]
        trainer.model.get_input_embeddings().weight.data[token] = math.nan
        trainer.args.max_nonfinite_fraction = 0.5
        trainer.train()
        adapters.append(adapter_of(trainer))
    for name, value in adapters[0].items():
        torch.testing.assert_close(value, adapters[1][name], rtol=1e-4, atol=1e-6)


def test_too_many_such_rows_stop_the_run(tmp_path):
    trainer = poisoned_trainer(tmp_path, task=[3], max_steps=10, max_nonfinite_fraction=0.04)
    with pytest.raises(GradientError, match=r"\(row ids: t3\).*raise max_nonfinite_fraction"):
        trainer.train()
    assert events(trainer, "nonfinite")


def test_a_reference_that_is_not_finite_is_never_chosen(tmp_path, caplog):
    trainer = poisoned_trainer(tmp_path, references=[2], max_steps=5, reference_fraction=1.0)
    trainer.train()
    (refresh,) = events(trainer, "refresh")
    assert "r2" not in refresh["ids"]
    assert len(refresh["ids"]) == len(refresh["kept"]) == 9
    assert all(refresh["kept"])
    assert "references' loss" in caplog.text
    with pytest.raises(GradientError, match="references"):
        poisoned_trainer(tmp_path / "many", references=range(5), max_steps=6).train()
