"""Reduction of the divergence on held-out probes, with bootstrap intervals.

Shapes: M batches, Q probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


RESAMPLES = 2000
MIN_DIVERGENCE = 1e-12
"""Divergences below this, in nats, count as zero."""
MIN_BLOCKS_FOR_P90 = 36
"""Minimum number of blocks for an interval of the 90th percentile: with probability 0.9^M all M blocks are below it,
and this exceeds 2.5% up to M = 35."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95% bootstrap interval; the ends are None with too few batches."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reduction:
    """Relative reduction of the probes' divergence over batches; 1 means complete.

    Attributes:
        median: Median batch.
        p90: 90th percentile of batches.
        batches: Number of batches.
        unmoved: Number of excluded batches, whose uncorrected update moved no probe.
        medians: Median of each bootstrap sample; the same seed gives the same samples.
    """

    median: Interval
    p90: Interval
    batches: int
    unmoved: int
    medians: np.ndarray

    def ahead_of(self, other: "Reduction") -> Interval:
        """Difference of the medians to another reduction with the same batches, probes and seed."""
        low, high = np.quantile(self.medians - other.medians, [0.025, 0.975])
        return Interval(self.median.value - other.median.value, float(low), float(high))


def reduction(
    uncorrected: Sequence[Sequence[float]], corrected: Sequence[Sequence[float]], *, seed: int, block: int = 1
) -> Reduction:
    """Summarize the reduction of each batch, 1 - mean KL corrected / mean KL uncorrected.

    The bootstrap resamples batches, and probes jointly for all batches, because a probe moves similarly in every
    batch.

    Args:
        uncorrected: KL of each probe after the uncorrected updates of each batch, shape (M, Q), in nats.
        corrected: The same after corrected updates.
        seed: Seed of the bootstrap.
        block: Number of consecutive batches with the same selection, which are resampled together.

    Raises:
        ValueError: No uncorrected update moved any probe.
    """
    before, after = np.asarray(uncorrected, dtype=np.float64), np.asarray(corrected, dtype=np.float64)
    moved = before.mean(1) > MIN_DIVERGENCE
    if not moved.any():
        raise ValueError("no uncorrected update moved any probe: raise learning_rate or updates")
    blocks = _blocks(moved, block)
    samples = _resampled(before[moved], after[moved], blocks, np.random.default_rng([seed, 5]))
    ends = np.quantile(samples, [0.025, 0.975], axis=0)
    enough = len(blocks) >= MIN_BLOCKS_FOR_P90
    median, p90 = _summary(1 - after[moved].mean(1) / before[moved].mean(1))
    return Reduction(
        Interval(float(median), float(ends[0, 0]), float(ends[1, 0])),
        Interval(float(p90), float(ends[0, 1]), float(ends[1, 1])) if enough else Interval(float(p90), None, None),
        int(moved.sum()),
        int((~moved).sum()),
        samples[:, 0],
    )


def _blocks(moved: np.ndarray, size: int) -> np.ndarray:
    """Positions of the moved batches by block, padded with -1."""
    of_block = (np.arange(len(moved)) // size)[moved]
    blocks = [np.flatnonzero(of_block == number) for number in np.unique(of_block)]
    return np.array([np.pad(some, (0, size - len(some)), constant_values=-1) for some in blocks])


def _resampled(before: np.ndarray, after: np.ndarray, blocks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Median and 90th percentile of each bootstrap sample, shape (`RESAMPLES`, 2)."""
    probes = before.shape[1]
    drawn = blocks[random.integers(len(blocks), size=(RESAMPLES, len(blocks)))].reshape(RESAMPLES, -1)
    weights = random.multinomial(probes, np.full(probes, 1 / probes), size=RESAMPLES)
    # a sample of probes that did not move has no ratio; it counts as zero reduction
    reductions = 1 - (weights @ after.T) / np.maximum(weights @ before.T, MIN_DIVERGENCE)
    return _summary(np.where(drawn < 0, np.nan, np.take_along_axis(reductions, drawn, axis=1)))


def _summary(reductions: np.ndarray) -> np.ndarray:
    """Median and 90th percentile over the last axis, ignoring NaN."""
    ordered = np.sort(reductions, axis=-1)  # NaN last
    ranks = np.array([0.5, 0.9]) * ((~np.isnan(ordered)).sum(-1)[..., None] - 1)
    below = np.floor(ranks).astype(int)
    low, high = (np.take_along_axis(ordered, at, -1) for at in (below, np.ceil(ranks).astype(int)))
    return np.asarray(low + (ranks - below) * (high - low))
