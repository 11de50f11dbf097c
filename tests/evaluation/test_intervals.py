"""Intervals against published numbers, closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from dualselect.evaluation import mean, mean_over_seeds, paired_difference, rate


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_published_wilson_intervals(successes, count, low, high):
    """Newcombe 1998, table I (81 of 263), and the closed form n / (n + z^2) at the ends."""
    found = rate(successes, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (3, 7), (64, 64), (17, 2312)])
def test_wilson_intervals_are_those_of_scipy(successes, count):
    found, expected = rate(successes, count), stats.binomtest(successes, count).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_holds_the_rate_and_shrinks():
    few, many = rate(3, 10), rate(300, 1000)
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_no_rate(successes, count):
    with pytest.raises(ValueError, match="is no rate"):
        rate(successes, count)


def skewed(count, seed=0):
    return np.random.default_rng(seed).exponential(size=count)


@pytest.mark.parametrize("count", [5, 60])
def test_the_bootstrap_is_that_of_scipy(count):
    values = skewed(count)
    expected = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    found = mean(values.tolist(), resamples=20_000)
    width = expected.high - expected.low
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03 * width)


def test_large_samples_reach_the_normal_interval():
    values = skewed(3000)
    half = 1.96 * values.std() / 3000**0.5
    found = mean(values.tolist())
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_a_paired_difference_knows_pairs():
    """Two runs that move together differ for sure, however far apart the prompts are."""
    first = 100 * skewed(80)
    second = first - 1 + 0.1 * skewed(80, seed=1)
    paired = paired_difference(first.tolist(), second.tolist())
    expected = stats.bootstrap(
        (first, second), lambda a, b, axis: (a - b).mean(axis), paired=True, method="percentile", rng=1
    ).confidence_interval
    assert 0 < paired.low < paired.value < paired.high
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high), abs=0.005)
    assert paired_difference(first.tolist(), first.tolist()).high == 0
    mirrored = paired_difference(second.tolist(), first.tolist())
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-paired.value, -paired.high, -paired.low))


def test_seeds_alone_have_a_closed_form():
    """Two seeds without any difference between prompts: a sample is a, b, or with chance 1/2 their mean."""
    found = mean_over_seeds([[1.0] * 9, [3.0] * 9])
    assert (found.value, found.low, found.high, found.count) == (2.0, 1.0, 3.0, 18)


def test_seeds_widen_the_interval_and_equal_seeds_do_not():
    values = skewed(50)
    one = mean(values.tolist())
    same = mean_over_seeds([values.tolist()] * 3)
    apart = mean_over_seeds([(values + shift).tolist() for shift in (-1, 0, 1)])
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.1)
    assert apart.high - apart.low > 1.5 * (one.high - one.low)
    assert apart.value == pytest.approx(one.value)


def test_the_two_levels_add_up():
    """Variance of a crossed sample's mean: that of seed means over S plus that of prompt means over P, and little."""
    random = np.random.default_rng(3)
    table = random.normal(size=(8, 1)) + random.normal(size=(1, 90))
    found = mean_over_seeds(table.tolist(), resamples=20_000)
    spread = (table.mean(1).var() / 8 + table.mean(0).var() / 90) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_missing_values_are_left_out_and_counted():
    found = mean_over_seeds([[1.0, None, 3.0], [None, None, 5.0]])
    assert (found.value, found.count) == (3.0, 3)
    assert 1.0 <= found.low < 3.0 < found.high <= 5.0


def test_the_same_values_give_the_same_interval():
    values = skewed(40).tolist()
    assert mean(values) == mean(values)
    assert mean(values) != mean(values, seed=1)
    assert mean([2.5]) == mean([2.5])
    assert (mean([2.5]).low, mean([2.5]).high) == (2.5, 2.5)


@pytest.mark.parametrize("values", [[], [[]], [[1.0], [1.0, 2.0]], [[None]], [[float("nan")]], [[float("inf"), 1.0]]])
def test_no_mean(values):
    with pytest.raises(ValueError, match="give the same prompts|has no mean"):
        mean_over_seeds(values)
    with pytest.raises(ValueError, match="make no pairs"):
        paired_difference([1.0], [])
