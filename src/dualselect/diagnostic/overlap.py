"""How alike the selections of different batches are, and how alike random ones would be.

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
"""References in a stratum, and how many of them the first and the second selection take at random."""


@dataclass(frozen=True)
class Null:
    """Mean pairwise Jaccard index of random selections over `DRAWS` draws.

    Attributes:
        mean: Its mean.
        low: Its 2.5% point.
        high: Its 97.5% point.
        draws: All of them.
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
        selections: For each batch the positions selected, one or more.
    """
    sizes = np.array([len(selected) for selected in selections])
    # only references that someone selected, so that a large pool costs nothing
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
    """What selections of K of N references at random, one for each batch, would have.

    Args:
        references: N.
        count: K.
        pairs: Of `pairs_of`.
        seed: Of the draws.
    """
    random = np.random.default_rng([seed, 3])
    batches = 1 + max(second for _, second in pairs["all"])
    found: dict[str, list[float]] = {name: [] for name in pairs}
    for _ in range(DRAWS):
        drawn = [random.choice(references, count, replace=False, shuffle=False) for _ in range(batches)]
        table = jaccard_table(drawn)
        for name, some in pairs.items():
            if some:
                found[name].append(mean_over(some, table))
    return {name: _null(values) for name, values in found.items() if values}


def expected_jaccard(strata: Sequence[Stratum]) -> float:
    """Expected Jaccard index of two random selections, drawn from each stratum without replacement.

        E[J] = sum_s P(S = s) s / (K + K' - s)

    The shared references S are a sum over the strata of hypergeometric counts.

    Args:
        strata: One for selections from the whole pool.
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


def group_chance(table: np.ndarray, groups: Sequence[str], *, seed: int) -> float:
    """How often batches that are given groups at random overlap as much more within groups than across.

    Args:
        table: Of `jaccard_table`.
        groups: Group of each batch.
        seed: Of the permutations.

    Returns:
        The p-value of a one-sided permutation test, in (0, 1].
    """
    upper = np.triu(np.ones_like(table, dtype=bool), 1)

    def within_minus_across(named: np.ndarray) -> float:
        same = named[:, None] == named[None, :]
        return float(table[upper & same].mean() - table[upper & ~same].mean())

    return _permuted(within_minus_across, groups, seed)


def category_chance(counts: np.ndarray, groups: Sequence[str], *, seed: int) -> float:
    """How often batches that are given groups at random differ as much in the categories that they select.

    The statistic is the sum of squares between groups of the categories' counts.

    Args:
        counts: References of each category that each batch selected, shape (M, categories).
        groups: Group of each batch.
        seed: Of the permutations.

    Returns:
        The p-value of a permutation test, in (0, 1].
    """
    centered = counts - counts.mean(0)

    def between(named: np.ndarray) -> float:
        sums = [(centered[named == name].sum(0) ** 2).sum() / (named == name).sum() for name in np.unique(named)]
        return float(sum(sums))

    return _permuted(between, groups, seed)


def chance_floor(groups: Sequence[str]) -> float:
    """The smallest p-value that a permutation of groups can have: one over the ways to part the batches so.

    Groups of equal size may change their names, which changes neither statistic.

    Args:
        groups: Group of each batch.
    """
    sizes = Counter(groups).values()
    ways = math.factorial(len(groups))
    for same in (*sizes, *Counter(sizes).values()):
        ways //= math.factorial(same)
    return 1 / ways


def _permuted(statistic: Callable[[np.ndarray], float], groups: Sequence[str], seed: int) -> float:
    random = np.random.default_rng([seed, 4])
    named = np.asarray(groups)
    observed = statistic(named) - 1e-9
    as_much = sum(statistic(random.permutation(named)) >= observed for _ in range(DRAWS))
    return (1 + as_much) / (1 + DRAWS)


def _null(values: list[float]) -> Null:
    draws = np.array(values)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Null(float(draws.mean()), float(low), float(high), draws)
