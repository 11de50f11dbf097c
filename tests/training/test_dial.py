"""`rho: auto`: the controller by hand, held-out references, and a run that follows it."""

import pytest
import torch
from rows_for_tests import events, safe_rows, trained

from dualselect.errors import ConfigError, DataError
from dualselect.training.config import DualSelectConfig
from dualselect.training.dial import HIGHEST, INTEGRAL, PROPORTIONAL, DialState
from dualselect.training.refresh import Directions
from dualselect.training.sides import held_out_positions
from dualselect.training.step import corrected_update


def test_rho_follows_the_excess_loss():
    state = DialState([1.0])
    assert state.rho == [0.0]
    state.turn([1.1], slack=0.0)
    assert state.excess == pytest.approx([0.1])
    assert state.rho == pytest.approx([0.1 * (PROPORTIONAL + INTEGRAL)])
    state.turn([1.1], slack=0.0)
    assert state.rho == pytest.approx([0.1 * (PROPORTIONAL + 2 * INTEGRAL)])
    state.turn([1.0], slack=0.0)
    assert state.rho == pytest.approx([0.1 * 2 * INTEGRAL])


def test_rho_is_bounded_and_falls_when_nothing_is_lost():
    state = DialState([1.0, 2.0])
    for _ in range(100):
        state.turn([9.0, 1.5], slack=0.0)
    assert state.rho == [HIGHEST, 0.0]
    for _ in range(100):
        state.turn([0.5, 1.5], slack=0.0)
    assert state.rho == [0.0, 0.0]


def test_slack_is_accepted():
    state = DialState([1.0])
    state.turn([1.2], slack=0.2)
    assert state.rho == pytest.approx([0.0])
    assert state.excess == pytest.approx([0.2])


def test_metrics_name_the_sides():
    assert DialState([1.0]).metrics() == {"rho": 0.0, "held_out_excess": 0.0}
    assert set(DialState([1.0, 1.0]).metrics()) == {
        "rho_refusing",
        "rho_helping",
        "held_out_excess_refusing",
        "held_out_excess_helping",
    }


def test_a_few_references_of_each_side_are_held_out():
    sides = [0] * 12 + [1] * 100
    apart = held_out_positions(sides)
    assert [sides[position] for position in apart] == [0] * 3 + [1] * 8
    assert len(set(apart)) == 11
    assert held_out_positions([0, 0, 0]) == []


@pytest.mark.parametrize("rho", ["much", "-1", -0.5, "nan"])
def test_other_values_are_refused(tmp_path, rho):
    with pytest.raises(ConfigError, match="rho is"):
        DualSelectConfig(str(tmp_path), rho=rho)


def test_numbers_are_still_numbers(tmp_path):
    assert DualSelectConfig(str(tmp_path), rho=0.5).fixed_rho == 0.5
    assert DualSelectConfig(str(tmp_path), rho="auto").fixed_rho is None


def test_a_correction_that_adds_nothing_has_no_strength(tmp_path):
    with pytest.raises(ConfigError, match="correction: project adds none"):
        DualSelectConfig(str(tmp_path), rho="auto", correction="project")


def test_a_run_holds_references_out_and_follows_them(tmp_path):

    trainer = trained(tmp_path, max_steps=8, rho="auto", learning_rate=1e-2)
    held_out = set(range(10)) - {trainer._rows["reference"].indices[n] for n in range(len(trainer.pool))}
    assert len(held_out) == 2
    ids = {trainer._rows["reference"].ids[n] for n in held_out}
    for line in events(trainer, "refresh"):
        assert not ids & set(line["ids"])
    steps = events(trainer, "step")
    assert steps[0]["rho"] == steps[3]["rho"] != steps[4]["rho"]  # measured every fourth step
    for line in steps:
        norms = line["task_gradient_norm"], line["reference_direction_norm"], line["update_norm"]
        assert norms[2] <= norms[0] * (1 + line["rho"][0]) + 1e-5
    assert trainer._loop.dial.rho == steps[-1]["rho"]


def test_the_correction_has_the_strength_of_rho(tmp_path):
    task, directions = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    config = DualSelectConfig(str(tmp_path), rho="auto")
    update, _ = corrected_update(task, Directions(directions, directions), config, [0.2, 1.0])
    assert update.tolist() == pytest.approx([3.0, 9.0, 1.0])
    update, _ = corrected_update(task, Directions(directions, directions), config, [0.0, 0.0])
    assert update.tolist() == [3.0, 4.0, 0.0]


def test_a_pool_that_is_too_small_is_refused(tmp_path):

    with pytest.raises(DataError, match="rho: auto holds out one reference in 4"):
        trained(tmp_path, max_steps=2, rho="auto", references=safe_rows(3))
