"""Reductions and their intervals."""

import numpy as np
import pytest

from dualselect.diagnostic.reduction import reduction


def test_median_and_percentile_are_of_batches():
    before = [[1.0, 3.0], [2.0, 2.0], [1.0, 1.0]]
    after = [[0.5, 1.5], [1.8, 1.8], [1.2, 1.2]]
    found = reduction(before, after, seed=0)
    assert found.median.value == pytest.approx(0.1)
    assert found.p90.value == pytest.approx(np.quantile([0.5, 0.1, -0.2], 0.9))
    assert found.median.low <= found.median.value <= found.median.high
    assert (found.batches, found.unmoved) == (3, 0)


def test_the_interval_covers_the_truth_and_shrinks():
    random = np.random.default_rng(3)
    covered, widths = 0, {}
    for batches in (8, 32):
        for _ in range(25):
            before = random.uniform(1, 2, (batches, 12))
            after = before * (1 - random.normal(0.3, 0.1, (batches, 1)))
            found = reduction(before, after, seed=0)
            covered += found.median.low <= 0.3 <= found.median.high
            widths.setdefault(batches, []).append(found.median.high - found.median.low)
    assert covered >= 42
    assert np.mean(widths[32]) < 0.75 * np.mean(widths[8])


def test_differences_are_paired():
    random = np.random.default_rng(4)
    before = random.uniform(1, 5, (10, 6))
    after = before * random.uniform(0.2, 0.9, (10, 1))
    ours, theirs = reduction(before, after, seed=0), reduction(before, after + 0.05 * before, seed=0)
    ahead = ours.ahead_of(theirs)
    assert ahead.value == pytest.approx(0.05)
    assert ahead.low == pytest.approx(0.05)
    assert ahead.high == pytest.approx(0.05)
    assert ours.median.high - ours.median.low > 0.01


@pytest.mark.parametrize(
    ("batches", "block", "enough"), [(35, 1, False), (36, 1, True), (70, 2, False), (71, 2, True)]
)
def test_the_90th_percentile_has_an_interval_only_where_the_batches_suffice(batches, block, enough):
    random = np.random.default_rng(5)
    before = random.uniform(1, 2, (batches, 4))
    found = reduction(before, before * random.uniform(0.5, 0.9, (batches, 1)), seed=0, block=block)
    assert found.median.low < found.median.high
    assert (found.p90.low is not None, found.p90.high is not None) == (enough, enough)
    if enough:
        assert found.p90.low <= found.p90.value <= found.p90.high


def test_batches_that_share_a_choice_are_drawn_together():
    """Three copies of each batch tell no more than one, and a block that is not whole counts too."""
    random = np.random.default_rng(6)
    before = random.uniform(1, 5, (4, 6))
    after = before * random.uniform(0.2, 0.9, (4, 1))
    single = reduction(before, after, seed=0)
    copies = reduction(before.repeat(3, 0), after.repeat(3, 0), seed=0, block=3)
    np.testing.assert_allclose(copies.medians, single.medians)
    assert copies.median.value == pytest.approx(single.median.value)
    not_whole = reduction(before.repeat(3, 0)[:10], after.repeat(3, 0)[:10], seed=0, block=3)
    assert np.isfinite(not_whole.medians).all()
    reductions = 1 - after[:, 0] / before[:, 0]
    assert not_whole.medians.min() == pytest.approx(reductions.min())
    assert not_whole.medians.max() == pytest.approx(reductions.max())


def test_batches_that_moved_nothing_are_left_out_and_counted():
    found = reduction([[0.0, 0.0], [1.0, 1.0]], [[0.1, 0.1], [0.4, 0.4]], seed=0)
    assert (found.batches, found.unmoved) == (1, 1)
    assert found.median.value == pytest.approx(0.6)
    with pytest.raises(ValueError, match="moved any probe"):
        reduction([[0.0]], [[0.0]], seed=0)
