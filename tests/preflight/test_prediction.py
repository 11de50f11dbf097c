"""From measured pieces to a whole run, by pieces whose whole is known."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from dualselect.preflight.length import run_length
from dualselect.preflight.measuring import Measured, PoolCall
from dualselect.preflight.prediction import predict, selected_references
from dualselect.training.config import DualSelectConfig


def rows(lengths):
    return SimpleNamespace(tokens=Dataset.from_dict({"input_ids": [[1] * length for length in lengths]}))


def measured(seconds, tokens, **more):
    calls = [
        PoolCall("start_losses", 0, 1.0),
        PoolCall("score", 2, 4.0),
        PoolCall("choose", 2, 0.0),
        PoolCall("directions", 2, 0.5),
    ]
    some = {"slice_tokens": 400, "slice_references": 20, "slice_selected": 2, "save_seconds": 0.25, "calls": calls}
    return Measured(seconds=seconds, tokens=tokens, **(some | more))


def config(**settings):
    return DualSelectConfig(**({"per_device_train_batch_size": 4, "max_steps": 100, "save_steps": 50} | settings))


def whole(settings, measured, task, pool, **more):
    return predict(measured, run_length(settings, len(task)), settings, rows(task), rows(pool), start=10.0, **more)


def test_every_part_is_scaled_by_what_it_grows_with():
    found = whole(config(), measured([3.0, 2.0, 2.5, 2.0, 2.0, 2.0], [40] * 6), [10] * 400, [20] * 100)
    assert found.step == pytest.approx(2.0)
    assert found.steps == pytest.approx(200)
    # the pool has five times the tokens of the slice, and five times the selected references
    assert found.refresh == pytest.approx(4.0 * 5 + 0.5 * 5)
    assert found.refreshes == pytest.approx(22.5 + 2.5)
    assert found.start == pytest.approx(10 + (3.0 + 2.5 - 2 * 2.0) + 1.0 * 5)
    assert found.saving == pytest.approx(0.25 * 3)
    assert found.total == pytest.approx(found.start + 200 + 25 + 0.75)


def test_the_harmless_rows_of_a_refresh_are_as_many_as_the_run_needs(monkeypatch):
    monkeypatch.setattr("dualselect.preflight.prediction.rows_of_a_kind", lambda rows, rate: 200 if rows else 100)
    found = measured([2.0] * 6, [40] * 6)
    plain = whole(config(), found, [10] * 400, [20] * 20).refresh
    found.calls.extend([PoolCall("collated", 2, 0.5), PoolCall("run", 2, 2.5), PoolCall("run", 2, 3.0)])
    assert whole(config(), found, [10] * 400, [20] * 20).refresh == pytest.approx(plain + 2 * 6.0)


def test_longer_rows_than_those_of_the_timed_steps_take_longer():
    lengths = [10] * 200 + [30] * 200
    short = measured([1.0, 1.0, 1.0, 1.0, 1.1, 0.9], [40, 40, 40, 40, 44, 36])
    found = whole(config(), short, lengths, [20] * 20)
    expected = np.mean([max(np.random.default_rng(n).permutation(lengths)[:4]) for n in range(2000)]) * 4
    assert found.step == pytest.approx(expected / 40, rel=0.02)


def test_time_that_does_not_grow_with_the_rows_stays():
    flat = measured([1.0] * 6, [40, 400, 40, 40, 44, 36])
    assert whole(config(), flat, [10] * 200 + [30] * 200, [20] * 20).step == pytest.approx(1.0)


def test_a_burst_of_other_work_in_one_step_does_not_count():
    burst = measured([1.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0], [40] * 8)
    assert whole(config(), burst, [10] * 400, [20] * 20).step == pytest.approx(1.0)


def test_a_replay_is_in_every_step_of_the_selection():
    settings = config(
        reference_gradient="replay", task_token_budget=0.9, reference_replay_size=4, selection_warmup_steps=20
    )
    later = [PoolCall("draw", step, 0.0) for step in (3, 4)] + [PoolCall("directions", step, 0.3) for step in (3, 4)]
    plain = measured([1.0] * 6, [40] * 6)
    plain.calls += later
    # of two references in the slice two were drawn, of ten in the run four are
    assert whole(settings, plain, [10] * 400, [20] * 100).steps == pytest.approx(100 + 80 * 0.6)


def test_held_out_rows_are_looked_at_as_often_as_the_settings_say():
    settings = config(eval_strategy="steps", eval_steps=30)
    plain = measured([1.0] * 6, [40] * 6, evaluation_seconds=0.1)
    assert whole(settings, plain, [10] * 40, [20] * 20, held_out=50).evaluation == pytest.approx(0.1 * 50 * 3)
    assert whole(config(), plain, [10] * 40, [20] * 20, held_out=50).evaluation == 0


def test_as_many_references_are_selected_as_in_the_run():
    assert selected_references(config(), 200) == 20
    assert selected_references(config(), 11) == 2
    assert selected_references(config(reference_top_k=5), 3) == 3
