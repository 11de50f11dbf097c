"""A rate is corrected for the known errors of the judge; the interval covers the truth as often as it says."""

import numpy as np
import pytest

from dualselect.evaluation.judge_errors import corrected_rate
from dualselect.judges import JudgeAccuracy


def known(found, yes, right, no):
    return JudgeAccuracy((found, yes), (right, no), "by hand")


def test_a_judge_without_errors_changes_nothing():
    value, low, high = corrected_rate(30, 100, known(10**6, 10**6, 10**6, 10**6))
    assert value == pytest.approx(0.3)
    assert (low, high) == pytest.approx((0.219, 0.396), abs=5e-3)  # Wilson's interval of 30 of 100


def test_worked_by_hand():
    """Of 100 responses 60 are refusals: 54 found (90%), and 2 of the 40 others taken for one (95%): 56 are counted."""
    value, low, high = corrected_rate(56, 100, known(90, 100, 95, 100))
    assert value == pytest.approx(0.6)
    assert low < 0.6 < high


def test_the_interval_is_wider_than_that_of_the_observed_rate_and_narrows_with_the_labels():
    few, many = (corrected_rate(56, 100, known(9 * n, 10 * n, 19 * n // 2, 10 * n)) for n in (4, 400))
    assert few[2] - few[1] > many[2] - many[1] > 2 * 1.96 * (0.56 * 0.44 / 100) ** 0.5 * 0.99


def test_bounds_and_judges_that_know_nothing():
    assert corrected_rate(0, 50, known(90, 100, 95, 100))[:2] == (0.0, 0.0)
    assert corrected_rate(50, 50, known(90, 100, 95, 100))[0] == 1.0
    assert corrected_rate(20, 50, known(30, 100, 70, 100)) is None
    assert known(90, 100, 80, 100).balanced == pytest.approx(0.85)


@pytest.mark.parametrize("truth", [0.05, 0.5, 0.9])
def test_coverage(truth):
    chance, covered, runs = np.random.default_rng(0), 0, 2000
    for _ in range(runs):
        observed = chance.binomial(60, truth * 0.9 + (1 - truth) * 0.04)
        accuracy = known(chance.binomial(120, 0.9), 120, chance.binomial(200, 0.96), 200)
        _, low, high = corrected_rate(observed, 60, accuracy)
        covered += low <= truth <= high
    assert 0.92 <= covered / runs <= 0.995
