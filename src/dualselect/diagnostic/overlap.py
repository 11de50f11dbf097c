"""Overlap of the selections of different batches, and of random selections.

The Jaccard index of two selections is |A and B| / |A or B|. Shapes: M batches, N references, K selected.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np


DRAWS = 1000
Stratum = tuple[int, int, int]
"""Size of a stratum, and how many references the first and the second selection sample from it."""


@dataclass(frozen=True)
class Null:
    """Mean pairwise Jaccard index of random selections over `DRAWS` draws.

    Attributes:
        mean: Mean over draws.
        low: 2.5% quantile.
        high: 97.5% quantile.
        draws: All draws.
    """

    mean: float
    low: float
    high: float
    draws: np.ndarray


def pairs_of(groups: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """Pairs of batches: `all`, `within` a group, `across` groups."""
    pairs = list(combinations(range(len(groups)), 2))
    return {
        "all": pairs,
        "within": [(one, other) for one, other in pairs if groups[one] == groups[other]],
        "across": [(one, other) for one, other in pairs if groups[one] != groups[other]],
    }


def jaccard_table(selections: Sequence[Sequence[int] | np.ndarray]) -> np.ndarray:
    """Jaccard index of each pair of selections, shape (M, M).

    Args:
        selections: Selected positions of each batch, one or more.
    """
    sizes = np.array([len(selected) for selected in selections])
    # only selected references, so that the size of the pool does not matter
    _, columns = np.unique(np.concatenate([np.asarray(selected) for selected in selections]), return_inverse=True)
    member = np.zeros((len(selections), columns.max() + 1), dtype=np.float32)
    member[np.repeat(np.arange(len(selections)), sizes), columns] = 1.0
    shared = (member @ member.T).astype(np.float64)
    table: np.ndarray = shared / (sizes[:, None] + sizes[None, :] - shared)
    return table


def mean_over(pairs: Sequence[tuple[int, int]], table: np.ndarray) -> float:
    """Mean Jaccard index of some pairs."""
    first, second = zip(*pairs, strict=True)
    return float(table[list(first), list(second)].mean())


def random_null(references: int, count: int, pairs: dict[str, list[tuple[int, int]]], *, seed: int) -> dict[str, Null]:
    """Overlap of random selections of K of N references, one per batch.

    Args:
        references: N.
        count: K.
        pairs: Result of `pairs_of`.
        seed: Seed of the draws.
    """
    random = np.random.default_rng([seed, 3])
    batches = 1 + max(second for _, second in pairs["all"])
    overlaps: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(DRAWS):
        drawn = [random.choice(references, count, replace=False, shuffle=False) for _ in range(batches)]
        table = jaccard_table(drawn)
        for name, some in pairs.items():
            if some:
                overlaps[name].append(mean_over(some, table))
    return {name: _null(values) for name, values in overlaps.items() if values}


def expected_jaccard(strata: Sequence[Stratum]) -> float:
    """Expected Jaccard index of two random selections, drawn from each stratum without replacement.

        E[J] = sum_s P(S = s) s / (K + K' - s)

    The shared references S are a sum over the strata of hypergeometric counts.

    Args:
        strata: The strata; a single one for selections from the whole pool.
    """
    shared = np.ones(1)
    for population, first, second in strata:
        chances = [
            math.comb(first, both) * math.comb(population - first, second - both) / math.comb(population, second)
            for both in range(min(first, second) + 1)
        ]
        shared = np.convolve(shared, chances)
    total = sum(first + second for _, first, second in strata)
    both = np.arange(len(shared))
    return float((shared * both / (total - both)).sum())


def expected_mean(pairs: Sequence[tuple[int, int]], expected: Callable[[int, int], float]) -> float:
    """Mean over pairs of batches of their expected Jaccard index."""
    return sum(expected(first, second) for first, second in pairs) / len(pairs)


def group_p_value(table: np.ndarray, groups: Sequence[str], *, seed: int) -> float:
    """Permutation test of whether batches overlap more within groups than across.

    Args:
        table: Result of `jaccard_table`.
        groups: Group of each batch.
        seed: Seed of the permutations.

    Returns:
        The p-value of a one-sided permutation test, in (0, 1].
    """
    upper = np.triu(np.ones_like(table, dtype=bool), 1)

    def within_minus_across(named: np.ndarray) -> float:
        same = named[:, None] == named[None, :]
        return float(table[upper & same].mean() - table[upper & ~same].mean())

    return _permuted(within_minus_across, groups, seed)


def category_p_value(counts: np.ndarray, groups: Sequence[str], *, seed: int) -> float:
    """Permutation test of whether the selected categories differ between groups.

    The statistic is the sum of squares between groups of the categories' counts.

    Args:
        counts: Number of selected references by batch and category, shape (M, categories).
        groups: Group of each batch.
        seed: Seed of the permutations.

    Returns:
        The p-value of a permutation test, in (0, 1].
    """
    centered = counts - counts.mean(0)

    def between(named: np.ndarray) -> float:
        sums = [(centered[named == name].sum(0) ** 2).sum() / (named == name).sum() for name in np.unique(named)]
        return float(sum(sums))

    return _permuted(between, groups, seed)


def min_p_value(groups: Sequence[str]) -> float:
    """The smallest possible p-value: one over the number of distinct partitions of the batches.

    Exchanging groups of equal size changes neither statistic.

    Args:
        groups: Group of each batch.
    """
    sizes = Counter(groups).values()
    ways = math.factorial(len(groups))
    for count in (*sizes, *Counter(sizes).values()):
        ways //= math.factorial(count)
    return 1 / ways


def _permuted(statistic: Callable[[np.ndarray], float], groups: Sequence[str], seed: int) -> float:
    random = np.random.default_rng([seed, 4])
    named = np.asarray(groups)
    observed = statistic(named) - 1e-9
    as_extreme = sum(statistic(random.permutation(named)) >= observed for _ in range(DRAWS))
    return (1 + as_extreme) / (1 + DRAWS)


def _null(values: list[float]) -> Null:
    draws = np.array(values)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Null(float(draws.mean()), float(low), float(high), draws)
