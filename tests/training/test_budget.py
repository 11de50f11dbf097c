"""How much a run drops, what it says of it, and that a default does something."""

import logging

import pytest
from rows_for_tests import conversation_rows, events, small_trainer, trained

from dualselect.errors import ConfigError


def equal_rows(count):
    """Rows of equal length, which a budget of 0.9 per step never drops in steps of 4."""
    rows = conversation_rows(count + 10).select(range(10, count + 10))
    return rows.map(
        lambda row, number: {
            "messages": [
                {"role": "user", "content": f"question {number + 10}"},
                {"role": "assistant", "content": f"The answer is {number + 10}."},
            ]
        },
        with_indices=True,
    )


def offered_and_kept(trainer):
    steps = events(trainer, "step")
    offered = sum(sum(line["tokens"]) for line in steps)
    kept = sum(count for line in steps for count, keep in zip(line["tokens"], line["kept"], strict=True) if keep)
    return offered, kept, max(count for line in steps for count in line["tokens"])


def test_the_default_budget_is_kept_over_the_run_up_to_one_row(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = trained(tmp_path, max_steps=14, task=equal_rows(20))
    offered, kept, longest = offered_and_kept(trainer)
    assert 0 <= kept - 0.9 * offered < longest
    totals = trainer._loop.totals
    assert (totals.tokens, totals.tokens_dropped) == (offered, offered - kept)
    assert totals.steps == 12
    assert f"selection dropped {totals.rows_dropped} of 48 rows offered" in caplog.text
    metrics = [line for line in trainer.state.log_history if "dualselect/dropped_token_fraction_of_run" in line]
    assert metrics[-1]["dualselect/dropped_token_fraction_of_run"] == pytest.approx(1 - kept / offered, abs=0.02)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"task_budget_scope": "step"}, "use task_budget_scope: run"),
        ({"task_token_budget": "1.0"}, "task_token_budget is 1.0"),
        ({"per_device_train_batch_size": 1}, "each step has one row"),
        ({"task_top_k": 4}, "no step has more than task_top_k = 4 rows"),
    ],
)
def test_a_run_that_drops_nothing_says_why(tmp_path, caplog, settings, reason):
    caplog.set_level(logging.INFO)
    trainer = trained(tmp_path, max_steps=5, task=equal_rows(20), **settings)
    assert all(all(line["kept"]) for line in events(trainer, "step"))
    assert "selection dropped 0 of" in caplog.text
    assert reason in caplog.text


@pytest.mark.parametrize(("steps", "warmup"), [(2, 1), (4, 1), (12, 2), (49, 9), (50, 10), (1000, 10), (1, 0)])
def test_a_short_run_has_a_short_warmup(tmp_path, steps, warmup):
    assert small_trainer_config(tmp_path).planned_warmup_steps(steps) == warmup


def small_trainer_config(folder):
    from dualselect import DualSelectConfig

    return DualSelectConfig(str(folder), use_cpu=True)


def test_a_run_shorter_than_the_default_warmup_selects_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = trained(tmp_path, max_steps=6, selection_warmup_steps=None)
    assert [line["event"] for line in trainer.selection_log.read()].count("warmup") == 1
    assert "the run has 6 optimizer steps: selection starts after 1 warm-up steps" in caplog.text


def test_a_given_warmup_that_leaves_no_step_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Lower selection_warmup_steps, leave it out"):
        small_trainer(tmp_path, max_steps=5, selection_warmup_steps=5).train()
