"""How sure a number is: score intervals of rates and of their differences, bootstrap intervals of all else.

All intervals are of 95%. The bootstrap is the percentile bootstrap (Efron 1979) with a fixed seed, so the same values
always give the same interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


Z_95 = 1.959963984540054
"""97.5% point of the standard normal distribution."""
RESAMPLES = 2000
# Numbers drawn at once, so that a large suite does not need much memory.
_DRAWN = 2_000_000


@dataclass(frozen=True)
class Rate:
    """A share with its 95% Wilson interval.

    Attributes:
        successes: How many did.
        count: Out of how many, 1 or more.
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
        count: Values that it is the mean of, 1 or more.
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
        low: Lower end; None where nothing tells how sure it is.
        high: Upper end.
        count: Pairs that it is the mean of, 1 or more.
    """

    value: float
    low: float | None
    high: float | None
    count: int


def rate(successes: int, count: int) -> Rate:
    """A share with its 95% Wilson score interval (Wilson 1927).

    Args:
        successes: How many did, 0 to `count`.
        count: Out of how many.

    Raises:
        ValueError: `count` is 0, or `successes` is not within it.
    """
    if not 0 <= successes <= count or count == 0:
        raise ValueError(f"{successes} of {count} is no rate: count at least one, and no more successes than that")
    return Rate(successes, count, *wilson(successes / count, count))


def wilson(share: float, count: float) -> tuple[float, float]:
    """The 95% Wilson score interval of a share (Wilson 1927).

    Args:
        share: In [0, 1].
        count: Out of how many, above 0; no whole number where they do not all weigh the same.
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
        seed: Of the samples.

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
        seed: Of the samples.

    Raises:
        ValueError: There are not as many of one as of the other, there are none, or one is not finite.
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

    It is that of `mean_over_seeds`, which keeps pairs together, but for two cases. Where every value is 0 or 1 and
    there is one seed, it is the score interval for paired shares (Newcombe 1998, Statistics in Medicine 17: 2635-2650,
    method 10). Where all differences are alike, a bootstrap would claim to be certain: shares of several seeds then
    have the score interval of as many pairs as there are prompts, and other numbers have none.

    Args:
        first: For each seed, one number per prompt; None where there is none.
        second: The same seeds and prompts in the same order.
        resamples: Bootstrap samples.
        seed: Of the samples.

    Raises:
        ValueError: The shapes differ, there is no pair, or a value is not finite.
    """
    sizes = [[len(row) for row in values] for values in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"{sizes[0]} and {sizes[1]} values make no pairs: give those of the same seeds and prompts")
    table = [
        [None if one is None or other is None else (one, other) for one, other in zip(*rows, strict=True)]
        for rows in zip(first, second, strict=True)
    ]
    differences = [[None if pair is None else pair[0] - pair[1] for pair in row] for row in table]
    found = mean_over_seeds(differences, resamples=resamples, seed=seed)
    pairs = [pair for row in table for pair in row if pair is not None]
    alike = len({one - other for one, other in pairs}) == 1
    low: float | None = found.low
    high: float | None = found.high
    if (len(table) == 1 or alike) and {value for pair in pairs for value in pair} <= {0.0, 1.0}:
        low, high = _paired_shares(pairs, sum(any(column) for column in zip(*table, strict=True)))
    elif alike:
        low = high = None
    return PairedDifference(found.value, low, high, found.count)


def _paired_shares(pairs: Sequence[tuple[float, float]], count: int) -> tuple[float, float]:
    """Newcombe's method 10: the Wilson intervals of both shares, put together with their correlation.

    Args:
        pairs: Values 0 or 1.
        count: How many independent pairs they stand for.
    """
    both, one_only, other_only, neither = (
        sum(pair == cell for pair in pairs) * count / len(pairs) for cell in ((1, 1), (1, 0), (0, 1), (0, 0))
    )
    one, other = (both + one_only) / count, (both + other_only) / count
    (one_low, one_high), (other_low, other_high) = wilson(one, count), wilson(other, count)
    association = both * neither - one_only * other_only
    if association > 0:  # a correction for continuity, so that pairs that all agree are not certain
        association = max(association - count / 2, 0.0)
    margins = one * (1 - one) * other * (1 - other)
    correlation = association / (count**2 * math.sqrt(margins)) if margins > 0 else 0.0

    def apart(first: float, second: float) -> float:
        return math.sqrt(max(0.0, first**2 - 2 * correlation * first * second + second**2))

    difference = one - other
    return (
        difference - apart(one - one_low, other_high - other),
        difference + apart(one_high - one, other - other_low),
    )


def mean_over_seeds(values: Sequence[Sequence[float | None]], *, resamples: int = RESAMPLES, seed: int = 0) -> Mean:
    """The mean over seeds and prompts; each bootstrap sample draws seeds and, for all of them, prompts.

    Seeds and prompts are crossed: a hard prompt is hard for every seed. With one seed this is the ordinary bootstrap.
    For the difference of two methods over the same seeds, give the differences.

    Args:
        values: For each seed, one number per prompt, the same prompts in the same order; None where there is none.
        resamples: Bootstrap samples.
        seed: Of the samples.

    Raises:
        ValueError: There are no values, rows of different lengths, or a value that is not finite.
    """
    if len({len(row) for row in values}) != 1:
        raise ValueError(f"seeds with {[len(row) for row in values]} prompts: give the same prompts for every seed")
    table = np.array([[math.nan if value is None else value for value in row] for row in values], dtype=np.float64)
    present = np.array([[value is not None for value in row] for row in values])
    if not present.any() or not np.isfinite(table[present]).all():
        raise ValueError(
            "no values, or a value that is not finite, has no mean: leave such prompts out and count them"
        )
    table[~present] = 0.0
    samples = _sample_means(table, present.astype(np.float64), resamples, np.random.default_rng(seed))
    low, high = np.quantile(samples, [0.025, 0.975])
    return Mean(float(table.sum() / present.sum()), float(low), float(high), int(present.sum()))


def _sample_means(table: np.ndarray, present: np.ndarray, resamples: int, random: np.random.Generator) -> np.ndarray:
    """Means of bootstrap samples; a sample is how often each seed and each prompt was drawn."""
    seeds, prompts = table.shape
    means: list[np.ndarray] = []
    at_once = max(1, _DRAWN // prompts)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        # A sample in which every drawn seed lacks every drawn prompt has no mean; it is left out.
        of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), size)
        of_prompts = random.multinomial(prompts, np.full(prompts, 1 / prompts), size)
        totals = ((of_seeds @ table) * of_prompts).sum(1)
        counts = ((of_seeds @ present) * of_prompts).sum(1)
        means.append(totals[counts > 0] / counts[counts > 0])
    return np.concatenate(means)
