"""Overlap against enumeration, against simulation and against what cannot be otherwise."""

import itertools

import numpy as np
import pytest

from dualselect.diagnostic.overlap import (
    category_p_value,
    expected_jaccard,
    group_p_value,
    jaccard_table,
    mean_over,
    min_p_value,
    pairs_of,
    random_null,
)


def jaccard(first, second):
    return len(set(first) & set(second)) / len(set(first) | set(second))


def test_the_table_is_the_definition():
    selections = [[0, 1, 2], [2, 3, 900_000], [0, 1, 2], [7]]
    table = jaccard_table(selections)
    expected = [[jaccard(one, other) for other in selections] for one in selections]
    np.testing.assert_allclose(table, expected)


@pytest.mark.parametrize(("population", "first", "second"), [(6, 2, 2), (7, 3, 5), (5, 5, 2), (8, 1, 1)])
def test_expected_jaccard_of_random_subsets_by_enumeration(population, first, second):
    fixed = range(first)
    all_of_them = [jaccard(fixed, other) for other in itertools.combinations(range(population), second)]
    assert expected_jaccard([(population, first, second)]) == pytest.approx(np.mean(all_of_them))


def test_expected_jaccard_of_stratified_subsets_by_enumeration():
    upper = [[10 + row for row in some] for some in itertools.combinations(range(4), 1)]
    both = [[*low, *high] for low in itertools.combinations(range(5), 2) for high in upper]
    all_of_them = [jaccard([0, 1, 2, 10, 11], other) for other in both]
    assert expected_jaccard([(5, 3, 2), (4, 2, 1)]) == pytest.approx(np.mean(all_of_them))


def test_the_null_has_the_mean_of_the_closed_form_and_95_percent_of_the_draws():
    null = random_null(30, 5, pairs_of(["a", "b", "a", "b", "c"]), seed=2)
    expected = expected_jaccard([(30, 5, 5)])
    for name in ("all", "within", "across"):
        error = null[name].draws.std() / len(null[name].draws) ** 0.5
        assert abs(null[name].mean - expected) < 4 * error
        inside = (null[name].draws >= null[name].low) & (null[name].draws <= null[name].high)
        assert 0.94 < inside.mean() < 0.99
    assert len(null["all"].draws) == 1000


def test_pairs_are_within_or_across():
    pairs = pairs_of(["a", "b", "a"])
    assert pairs == {"all": [(0, 1), (0, 2), (1, 2)], "within": [(0, 2)], "across": [(0, 1), (1, 2)]}


def test_structure_by_group_is_found_and_chance_is_not():
    random = np.random.default_rng(0)
    groups = list("aaaabbbbcccc")
    own = {"a": range(10), "b": range(8, 18), "c": range(16, 26)}
    by_group = [random.choice(list(own[group]), 6, replace=False).tolist() for group in groups]
    assert group_p_value(jaccard_table(by_group), groups, seed=0) < 0.01
    counts = np.array([[sum(row // 5 == part for row in rows) for part in range(6)] for rows in by_group])
    assert category_p_value(counts, groups, seed=0) < 0.01
    chances = []
    for _ in range(30):
        by_chance = [random.choice(26, 6, replace=False).tolist() for _ in groups]
        chances.append(group_p_value(jaccard_table(by_chance), groups, seed=0))
    assert sum(chance < 0.05 for chance in chances) <= 6
    assert 0.3 < np.mean(chances) < 0.7


@pytest.mark.parametrize("groups", [list("aaabbb"), list("aabb"), list("aaabb"), list("aabbcc"), list("aabbc")])
def test_the_smallest_chance_is_that_of_the_sharpest_structure_by_enumeration(groups):
    """Batches of a group select the same, batches of two groups nothing in common."""
    names = sorted(set(groups))
    table = jaccard_table([[names.index(group)] for group in groups])
    partings = {
        frozenset(frozenset(at for at, name in enumerate(some) if name == group) for group in names)
        for some in itertools.permutations(groups)
    }
    assert min_p_value(groups) == pytest.approx(1 / len(partings))
    assert group_p_value(table, groups, seed=0) == pytest.approx(min_p_value(groups), abs=0.04)
    counts = np.array([[group == name for name in names] for group in groups], dtype=float)
    assert category_p_value(counts, groups, seed=0) == pytest.approx(min_p_value(groups), abs=0.04)


@pytest.mark.parametrize(("groups", "batches"), [(2, 4), (3, 3), (4, 2), (7, 2)])
def test_as_many_batches_as_the_help_asks_for_can_tell_and_one_less_cannot(groups, batches):
    names = [f"group {number}" for number in range(groups)]
    assert min_p_value(names * batches) < 0.05
    assert batches == 2 or min_p_value(names * (batches - 1)) > 0.05


def test_mean_over_takes_the_pairs_named():
    table = np.array([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]])
    assert mean_over([(0, 1), (1, 2)], table) == pytest.approx(0.4)
