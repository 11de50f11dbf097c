"""AUROC and recall against their definitions, counted out pair by pair."""

import random

import numpy as np
import pytest

from dualselect.auditing.detection import DROPPED, detection, mean_detection


def auroc_by_pairs(scores, risky):
    ones = [score for score, known in zip(scores, risky, strict=True) if known]
    others = [score for score, known in zip(scores, risky, strict=True) if not known]
    return sum((one > other) + 0.5 * (one == other) for one in ones for other in others) / (len(ones) * len(others))


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_the_share_of_ordered_pairs_ties_half(seed):
    chance = random.Random(seed)
    scores = [chance.choice([0, 1, 2, 3]) + chance.choice([0, 0.5]) for _ in range(40)]
    risky = [chance.random() < 0.3 for _ in scores[:-2]] + [True, False]
    assert detection(scores, risky).auroc.value == pytest.approx(auroc_by_pairs(scores, risky))


def test_recall_counts_the_highest_scores():
    scores = list(range(100))
    risky = [number in (99, 97, 92, 50) for number in range(100)]
    recall = detection(scores, risky).recall
    assert [recall[share].value for share in DROPPED] == [0.5, 0.75, 0.75]


def test_equal_scores_are_dropped_in_part():
    found = detection([1.0] * 10, [True] * 5 + [False] * 5)
    assert found.recall[0.2].value == pytest.approx(0.2)
    assert found.auroc.value == 0.5


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Normal scores half a deviation apart: the true AUROC is Phi(0.5 / sqrt 2)."""
    truth, held = 0.6381632, 0
    for seed in range(60):
        random_numbers = np.random.default_rng(seed)
        scores = np.concatenate([random_numbers.normal(0.5, 1, 30), random_numbers.normal(0, 1, 60)])
        found = detection(scores, [True] * 30 + [False] * 60, seed=seed).auroc
        held += found.low <= truth <= found.high
    assert held >= 52  # 57 are expected of 60


def test_the_mean_over_seeds_is_surer_than_one_seed():
    random_numbers = np.random.default_rng(0)
    parts = [
        (
            np.concatenate([random_numbers.normal(1, 1, 20), random_numbers.normal(0, 1, 40)]),
            [True] * 20 + [False] * 40,
        )
        for _ in range(4)
    ]
    together, alone = mean_detection(parts).auroc, [detection(*part).auroc for part in parts]
    assert together.value == pytest.approx(np.mean([one.value for one in alone]))
    assert together.high - together.low < min(one.high - one.low for one in alone)


@pytest.mark.parametrize(
    ("scores", "risky"),
    [([1.0, 2.0], [True, True]), ([1.0, 2.0], [False, False]), ([1.0, float("nan")], [True, False])],
    ids=["all-risky", "none-risky", "not-finite"],
)
def test_what_has_no_auroc_is_refused(scores, risky):
    with pytest.raises(ValueError, match="finite scores of at least one risky row and one other"):
        detection(scores, risky)
