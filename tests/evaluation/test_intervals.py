"""Intervals against published numbers, closed forms and scipy."""

import numpy as np
import pytest
from scipy import stats

from dualselect.evaluation import mean, mean_over_seeds, paired_difference, rate
from dualselect.evaluation.intervals import paired_difference_over_seeds


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
    with pytest.raises(ValueError, match="is not a rate"):
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
    mirrored = paired_difference(second.tolist(), first.tolist())
    assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx((-paired.value, -paired.high, -paired.low))


def shares(both, one_only, other_only, neither):
    """Two lists of 0 and 1 with so many pairs of each sort."""
    count = both, one_only, other_only, neither
    return [
        [value for pair, times in zip(pairs, count, strict=True) for value in [pair] * times]
        for pairs in ((1.0, 1.0, 0.0, 0.0), (1.0, 0.0, 1.0, 0.0))
    ]


@pytest.mark.parametrize(
    ("cells", "low", "high"),
    [((59, 6, 16, 80), -0.1186, -0.0046), ((1, 1, 7, 12), -0.5069, -0.0256), ((36, 12, 2, 0), 0.0569, 0.3404)],
)
def test_published_intervals_of_paired_shares(cells, low, high):
    """Fagerland, Lydersen and Laake 2017, chapter 8 (the first); Newcombe's formula by hand (the others)."""
    first, second = shares(*cells)
    found, mirrored = paired_difference(first, second), paired_difference(second, first)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)
    assert found.value == pytest.approx((cells[1] - cells[2]) / sum(cells))
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_no_difference_of_shares_is_certain():
    half = 1 - rate(30, 30).low
    same = paired_difference(*shares(30, 0, 0, 0))
    assert (same.value, same.low, same.high) == pytest.approx((0.0, -half, half))
    opposite = paired_difference(*shares(0, 30, 0, 0))
    assert (opposite.value, opposite.low, opposite.high) == pytest.approx((1.0, 1 - 2**0.5 * half, 1.0))
    agreeing = paired_difference(*shares(15, 0, 0, 15))
    assert -0.1 < agreeing.low < -0.01
    assert 0.01 < agreeing.high < 0.1


@pytest.mark.parametrize("both", [0, 30, 60])
def test_four_of_64_changed_one_way_may_be_chance(both):
    """McNemar's exact test has p = 0.125; a bootstrap would exclude 0."""
    first, second = shares(both, 4, 0, 60 - both)
    found = paired_difference(first, second)
    assert found.low < 0 < found.value < found.high
    assert mean([one - other for one, other in zip(first, second, strict=True)]).low > 0
    assert stats.binomtest(4, 4).pvalue == 0.125
    assert paired_difference(*shares(both, 8, 0, 60 - both)).low > 0


def test_seeds_without_a_difference_are_as_sure_as_their_prompts():
    first, _ = shares(20, 0, 0, 10)
    one, several = paired_difference(first, first), paired_difference_over_seeds([first] * 3, [first] * 3)
    assert (several.value, several.low, several.high) == pytest.approx((0.0, one.low, one.high))
    assert (one.count, several.count) == (30, 90)


def test_seeds_that_differ_have_the_bootstrap_of_their_differences():
    first, second = [[1.0, 1.0, 0.0], [1.0, 0.0, None]], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    found = paired_difference_over_seeds(first, second)
    expected = mean_over_seeds([[1.0, 0.0, 0.0], [0.0, 0.0, None]])
    assert (found.value, found.low, found.high, found.count) == (
        expected.value,
        expected.low,
        expected.high,
        expected.count,
    )


def test_equal_differences_of_other_numbers_have_no_interval():
    first = skewed(30).tolist()
    for found in (paired_difference(first, first), paired_difference_over_seeds([first] * 2, [first] * 2)):
        assert (found.value, found.low, found.high) == (0.0, None, None)
    assert paired_difference([2.5], [1.0]).low is None


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
    with pytest.raises(ValueError, match="pass the same prompts|there are no values"):
        mean_over_seeds(values)
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([1.0], [])
