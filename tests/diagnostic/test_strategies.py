"""Four ways to pick references, each against what defines it; those by chance against their closed forms."""

import numpy as np
import pytest
import torch

from dualselect.diagnostic.overlap import expected_jaccard, expected_mean, jaccard_table, mean_over, pairs_of
from dualselect.diagnostic.results import expected_overlaps
from dualselect.diagnostic.strategies import category_shares, dualselect, periodic_random, uniform


CATEGORIES = ["a"] * 3 + ["b"] * 9 + ["c"] * 1 + ["d"] * 7
PAIRS = pairs_of(["x", "y", "x", "y", "x"])


def kept(choices):
    return [choice.kept for choice in choices]


def test_dualselect_takes_the_badly_preserved_in_conflict():
    losses = torch.tensor([0.0, 0.5, 0.0, 0.1])
    cosines = torch.tensor([[0.9, 0.0, -0.4, 0.0], [-0.8, 0.9, 0.0, 0.0]])
    weights = {"loss_weight": 1.0, "conflict_weight": 1.0}
    assert kept(dualselect(losses, cosines, 2, temperature=None, **weights)) == [[1, 2], [0, 3]]
    (soft, _) = dualselect(losses, cosines, 2, temperature=0.1, **weights)
    assert soft.weights[1] / soft.weights[2] == pytest.approx(np.exp((0.5 - 0.4) / 0.1))


def test_periodic_random_is_drawn_anew_each_period():
    chosen = kept(periodic_random(20, 5, 7, period=3, seed=0))
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[3] == chosen[4] == chosen[5]
    assert len({tuple(one) for one in chosen}) == 3
    assert all(len(set(one)) == 5 for one in chosen)


def test_uniform_takes_turns_over_categories():
    for choice in uniform(CATEGORIES, 10, 4, seed=1):
        counts = [sum(CATEGORIES[row] == name for row in choice.kept) for name in "abcd"]
        assert len(choice.kept) == sum(counts) == 10
        assert counts[0] == 3
        assert counts[2] == 1
        assert abs(counts[1] - counts[3]) <= 1 or min(counts[1], counts[3]) >= 3
    assert [sum(shares) for shares in category_shares(CATEGORIES, 20, 2, seed=0)] == [20, 20]


@pytest.mark.parametrize("count", [3, 11])
def test_random_strategies_overlap_as_their_closed_forms_say(count):
    """The mean over 300 seeds is within four standard errors of the expectation."""
    seeds = range(300)
    drawn = {
        "periodic_random": [periodic_random(20, count, 5, period=2, seed=seed) for seed in seeds],
        "uniform": [uniform(CATEGORIES, count, 5, seed=seed) for seed in seeds],
    }
    for name, choices in drawn.items():
        for which, pairs in PAIRS.items():
            found = np.array([mean_over(pairs, jaccard_table(kept(some))) for some in choices])
            expected = np.array(
                [expected_mean(pairs, expected_overlaps(CATEGORIES, count, 5, 2, seed)[name]) for seed in seeds]
            )
            error = (found - expected).std() / len(seeds) ** 0.5
            assert abs((found - expected).mean()) < 4 * error, (name, which)
    by_chance = expected_jaccard([(20, count, count)])
    same = {"all": 2 / 10, "within": 0.0, "across": 2 / 6}
    for which, pairs in PAIRS.items():
        expected = expected_mean(pairs, expected_overlaps(CATEGORIES, count, 5, 2, 0)["periodic_random"])
        assert expected == pytest.approx(same[which] + (1 - same[which]) * by_chance)
