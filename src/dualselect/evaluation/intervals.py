"""95% intervals: score intervals of rates and their differences, bootstrap intervals of all other numbers.

The bootstrap is the percentile bootstrap (Efron 1979) with a fixed seed, so that results are deterministic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


Z_95 = 1.959963984540054
"""97.5% point of the standard normal distribution."""
RESAMPLES = 2000
# counts per batch of samples, which bounds memory
_BATCH_COUNTS = 2_000_000


@dataclass(frozen=True)
class Rate:
    """A share with its 95% Wilson interval.

    Attributes:
        successes: Number of successes.
        count: Number of trials, 1 or more.
        low: Lower end, in [0, 1].
        high: Upper end, in [0, 1].
    """

    successes: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.successes / self.count


@dataclass(frozen=True)
class Mean:
    """A mean with its 95% bootstrap interval.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
        count: Number of values, 1 or more.
    """

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PairedDifference:
    """A mean of paired differences with its 95% interval.

    Attributes:
        value: The mean.
        low: Lower end; None without an interval.
        high: Upper end; None without an interval.
        count: Number of pairs, 1 or more.
    """

    value: float
    low: float | None
    high: float | None
    count: int


def rate(successes: int, count: int) -> Rate:
    """A share with its 95% Wilson score interval (Wilson 1927).

    Args:
        successes: Number of successes, 0 to `count`.
        count: Number of trials, 1 or more.

    Raises:
        ValueError: `count` is 0, or `successes` is out of range.
    """
    if not 0 <= successes <= count or count == 0:
        raise ValueError(f"{successes} of {count} is not a rate: count must be 1 or more, and successes at most count")
    return Rate(successes, count, *wilson(successes / count, count))


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95% Wilson score interval of a share (Wilson 1927).

    Args:
        share: In [0, 1].
        count: Sample size, above 0; not an integer if it is an effective sample size.
    """
    z2 = Z_95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return max(0.0, center - half), min(1.0, center + half)


def mean(values: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """A mean with the percentile bootstrap interval over its values.

    Args:
        values: One number per prompt, at least one.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There are no values, or one is not finite.
    """
    return mean_over_seeds([values], resamples=resamples, seed=seed)


def paired_difference(
    first: Sequence[float], second: Sequence[float], *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """The mean of `first - second` with its paired interval; see `paired_difference_over_seeds`.

    Args:
        first: One number per prompt.
        second: Numbers of the same prompts in the same order.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: The numbers of values differ, there are none, or one is not finite.
    """
    return paired_difference_over_seeds([first], [second], resamples=resamples, seed=seed)


def paired_difference_over_seeds(
    first: Sequence[Sequence[float | None]],
    second: Sequence[Sequence[float | None]],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """The mean of `first - second` over seeds and prompts with its paired interval.

    The interval is that of `mean_over_seeds`, which resamples pairs, with two exceptions. If all values are 0 or 1 and
    there is one seed, it is the score interval for paired proportions (Newcombe 1998, Statistics in Medicine 17:
    2635-2650, method 10). If all differences are equal, a bootstrap interval would have no width: proportions of
    several seeds then use the score interval with one pair per prompt, and other numbers have no interval.

    Args:
        first: For each seed, one number per prompt; None if missing.
        second: The same seeds and prompts in the same order.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: The shapes differ, there is no pair, or a value is not finite.
    """
    sizes = [[len(row) for row in values] for values in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{sizes[0]} and {sizes[1]} values cannot be paired: pass the same seeds and prompts")
    table = [
        [None if one is None or other is None else (one, other) for one, other in zip(*rows, strict=True)]
        for rows in zip(first, second, strict=True)
    ]
    differences = [[None if pair is None else pair[0] - pair[1] for pair in row] for row in table]
    overall = mean_over_seeds(differences, resamples=resamples, seed=seed)
    pairs = [pair for row in table for pair in row if pair is not None]
    all_equal = len({one - other for one, other in pairs}) == 1
    low: float | None = overall.low
    high: float | None = overall.high
    if (len(table) == 1 or all_equal) and {value for pair in pairs for value in pair} <= {0.0, 1.0}:
        low, high = _paired_shares(pairs, sum(any(column) for column in zip(*table, strict=True)))
    elif all_equal:
        low = high = None
    return PairedDifference(overall.value, low, high, overall.count)


def _paired_shares(pairs: Sequence[tuple[float, float]], count: int) -> tuple[float, float]:
    """Newcombe's method 10: combines the Wilson intervals of both proportions with their correlation.

    Args:
        pairs: Values 0 or 1.
        count: Number of independent pairs.
    """
    both, one_only, other_only, neither = (
        sum(pair == cell for pair in pairs) * count / len(pairs) for cell in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    one, other = (both + one_only) / count, (both + other_only) / count
    (one_low, one_high), (other_low, other_high) = wilson(one, count), wilson(other, count)
    association = both * neither - one_only * other_only
    if association > 0:  # continuity correction, so that the interval has a width if all pairs agree
        association = max(association - count / 2, 0.0)
    margins = one * (1 - one) * other * (1 - other)
    correlation = association / (count**2 * math.sqrt(margins)) if margins > 0 else 0.0

    def distance(first: float, second: float) -> float:
        return math.sqrt(max(0.0, first**2 - 2 * correlation * first * second + second**2))

    difference = one - other
    return (
        difference - distance(one - one_low, other_high - other),
        difference + distance(one_high - one, other - other_low),
    )


def mean_over_seeds(values: Sequence[Sequence[float | None]], *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """Mean over seeds and prompts; bootstrap samples resample seeds, and prompts jointly for all seeds.

    Seeds and prompts are crossed: a hard prompt is hard for every seed. With one seed this is the ordinary bootstrap.
    For the difference of two methods over the same seeds, pass the differences.

    Args:
        values: For each seed, one number per prompt, the same prompts in the same order; None if missing.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There are no values, rows of different lengths, or a value that is not finite.
    """
    if len({len(row) for row in values}) != 1:
        raise ValueError(f"seeds with {[len(row) for row in values]} prompts: pass the same prompts for every seed")
    table = np.array([[math.nan if value is None else value for value in row] for row in values], dtype=np.float64)
    present = np.array([[value is not None for value in row] for row in values])
    if not present.any() or not np.isfinite(table[present]).all():
        raise ValueError("there are no values, or one is not finite: exclude such prompts and count them")
    table[~present] = 0.0
    samples = _sample_means(table, present.astype(np.float64), resamples, np.random.default_rng(seed))
    low, high = np.quantile(samples, [0.025, 0.975])
    return Mean(float(table.sum() / present.sum()), float(low), float(high), int(present.sum()))


def _sample_means(table: np.ndarray, present: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Means of bootstrap samples; a sample is a count of each seed and each prompt."""
    seeds, prompts = table.shape
    means: list[np.ndarray] = []
    batch = max(1, _BATCH_COUNTS // prompts)
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        # samples without any value have no mean and are excluded
        seed_counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), size)
        prompt_counts = random.multinomial(prompts, np.full(prompts, 1 / prompts), size)
        totals = ((seed_counts @ table) * prompt_counts).sum(1)
        counts = ((seed_counts @ present) * prompt_counts).sum(1)
        means.append(totals[counts > 0] / counts[counts > 0])
    return np.concatenate(means)
