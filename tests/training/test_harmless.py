"""The harmless rows that calibrate the filter: which ones, and what is refused."""

import logging

import pytest
import torch
from datasets import Dataset
from rows_for_tests import conversation_rows, events, small_trainer, trained

from dualselect.data import builtin_rows
from dualselect.data.checks import normalized_prompt
from dualselect.errors import ConfigError, DataError
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import ResponseStates
from dualselect.training.harmless import YOURS
from dualselect.training.preparation import ROW


AUTO = {"task_token_budget": "auto", "reference_contrast": "compliance"}


def with_harmless(folder, rows=None, **settings):
    return small_trainer(folder, trainer_arguments={"harmless_dataset": rows}, **(AUTO | settings))


@pytest.mark.parametrize(("long_run", "count"), [(1000, 99), (20, 199)])
def test_built_in_rows_of_each_kind(tmp_path, monkeypatch, long_run, count):
    monkeypatch.setattr("dualselect.training.harmless.ROWS_PER_KIND", 199)
    monkeypatch.setattr("dualselect.training.harmless.LONG_RUN", long_run)
    kinds = with_harmless(tmp_path)._harmless.kinds
    assert {kind: kinds.count(kind) for kind in set(kinds)} == dict.fromkeys(("chat", "lookalike", "task"), count)


def test_a_lower_rate_takes_more_rows(tmp_path):
    kinds = with_harmless(tmp_path, harmless_drop_rate=0.0045)._harmless.kinds
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"chat": 222, "lookalike": 222, "task": 222}


def test_a_rate_that_needs_more_rows_than_there_are_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="harmless_drop_rate 0.001 needs 999 harmless rows of each kind, but only 250"
    ):
        with_harmless(tmp_path, harmless_drop_rate=0.001)


def test_rows_of_the_task_and_of_the_pool_do_not_calibrate(tmp_path):
    task = Dataset.from_list(builtin_rows("chat", 60))
    pool = Dataset.from_list(builtin_rows("lookalike", 60))
    trainer = with_harmless(tmp_path, task=task, references=pool)
    taken = {normalized_prompt(row["prompt"]) for row in (*task, *pool)}
    assert not taken & {normalized_prompt(prompt) for prompt in trainer._harmless.prepared.conversations["prompt"]}
    assert trainer._harmless.kinds.count("chat") >= 99


def test_rows_of_the_user_are_a_kind_of_their_own(tmp_path):
    rows = conversation_rows(40, prefix="mine").remove_columns(["kind", "id"])
    trainer = with_harmless(tmp_path, rows, harmless_drop_rate=0.05)
    assert trainer._harmless.kinds.count(YOURS) == 40


def test_kinds_with_few_rows_count_as_one(tmp_path):
    rows = conversation_rows(30, prefix="mine")
    kinds = ["many"] * 20 + ["few"] * 5 + ["fewer"] * 5
    rows = rows.remove_columns("kind").add_column("kind", kinds)
    with pytest.raises(DataError, match="harmless_data: 10 rows of a kind with too few rows"):
        with_harmless(tmp_path, rows, harmless_drop_rate=0.05)
    found = with_harmless(tmp_path, rows, harmless_drop_rate=0.1)._harmless.kinds
    assert (found.count("many"), found.count(YOURS)) == (20, 10)


def test_a_row_that_is_trained_on_is_no_calibration(tmp_path, caplog):
    rows = Dataset.from_list([*conversation_rows(3), *conversation_rows(20, prefix="mine")]).remove_columns("kind")
    trainer = with_harmless(tmp_path, rows, harmless_drop_rate=0.05)
    assert trainer._harmless.kinds.count(YOURS) == 20
    assert "left out 3 of 23 harmless rows" in caplog.text


def test_too_short_a_max_length_is_refused(tmp_path):
    with pytest.raises(DataError, match="leaves too few harmless rows to calibrate on"):
        with_harmless(tmp_path, max_length=40)


def test_harmless_rows_without_a_filter_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = small_trainer(tmp_path, trainer_arguments={"harmless_dataset": conversation_rows(5, prefix="m")})
    assert trainer._harmless is None
    assert "the harmless rows are not used" in caplog.text


def test_a_step_whose_rows_all_conflict_learns_nothing_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("dualselect.selection.HarmlessScores.threshold", lambda scores, rate: -1e9)
    trainer = trained(tmp_path, max_steps=4, correction="none", **AUTO)
    dropped = [line for line in events(trainer, "step") if not any(line["kept"])]
    assert dropped
    for line in dropped:
        assert line["task_gradient_norm"] == 0.0
    lines = [*events(trainer, "warmup"), *events(trainer, "step")]
    assert trainer._loop.totals.rows_dropped == sum(len(line["kept"]) - sum(line["kept"]) for line in lines)


def test_the_warmup_drops_what_the_probe_finds(tmp_path):
    trainer = trained(tmp_path, max_steps=4, selection_warmup_steps=3, learning_rate=0.0, **AUTO)
    (opening,), rate = events(trainer, "filter"), trainer.args.harmless_drop_rate
    threshold = opening["conflict_threshold"]
    assert set(opening["harmless_conflicts"]) == {"chat", "lookalike", "task"}
    for conflicts in opening["harmless_conflicts"].values():
        assert sum(conflict > threshold for conflict in conflicts) <= rate * (len(conflicts) + 1)
    warmup = events(trainer, "warmup")
    assert len(warmup) == 3
    for line in warmup:
        assert line["kept"] == [conflict <= threshold for conflict in line["conflicts"]]
        assert line["kept"] == [p_value > rate for p_value in line["p_values"]]
        assert "cosines" not in line  # there is no direction yet
    # with a learning rate of 0 the model is the same later, and so is what the probe says of a row
    states = ResponseStates(trainer.model)
    with torch.no_grad():
        probe = trainer.pool.first_probe(trainer.model)
        for line in warmup:
            by_row = {row[ROW]: row for row in trainer.train_dataset}
            ids = trainer._rows["train"].ids
            batch = trainer.data_collator([by_row[ids.index(name)] for name in line["ids"]])
            batch.pop(ROW)
            states.during(response_cross_entropy)(trainer.model, batch)
            torch.testing.assert_close(
                probe.scores(states.take()), torch.tensor(line["probe_scores"]).double(), atol=1e-3, rtol=1e-3
            )


def test_without_contrasts_the_warmup_keeps_every_row(tmp_path):
    trainer = trained(tmp_path, max_steps=3, **(AUTO | {"reference_contrast": "none"}))
    assert not events(trainer, "filter")
    assert all("kept" not in line for line in events(trainer, "warmup"))
