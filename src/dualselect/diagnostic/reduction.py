"""How much less the held-out probes moved, with intervals.

Shapes: M batches, Q probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


RESAMPLES = 2000
NOTHING = 1e-12
"""A divergence, in nats, under which there is nothing to reduce."""
LEAST_FOR_P90 = 36
"""Blocks from which on the 90th percentile has an interval: one of fewer would end below it, as the largest of M lies
below it with a chance of 0.9^M, and that is over 2.5% up to 35."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95% bootstrap interval; the ends are None where there is too little for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Reduction:
    """Reductions of the probes' divergence over batches, 1 for all of it.

    Attributes:
        median: Median batch.
        p90: 90th percentile of batches.
        batches: Batches that they are over.
        unmoved: Batches left out because their uncorrected update moved no probe.
        medians: The median of each bootstrap sample; the same seed draws the same batches and probes.
    """

    median: Interval
    p90: Interval
    batches: int
    unmoved: int
    medians: np.ndarray

    def ahead_of(self, other: "Reduction") -> Interval:
        """By how much its median is larger than that of another, of the same batches, probes and seed."""
        low, high = np.quantile(self.medians - other.medians, [0.025, 0.975])
        return Interval(self.median.value - other.median.value, float(low), float(high))


def reduction(
    uncorrected: Sequence[Sequence[float]], corrected: Sequence[Sequence[float]], *, seed: int, block: int = 1
) -> Reduction:
    """Reduction of each batch, 1 - mean KL corrected / mean KL uncorrected, summed up over batches.

    A bootstrap sample draws batches and, for all of them, probes: a probe that moves easily does so in every batch.

    Args:
        uncorrected: KL of each probe after the uncorrected updates of each batch, shape (M, Q), in nats.
        corrected: The same after corrected ones.
        seed: Of the samples.
        block: Neighboring batches that share a choice of references; a sample draws all of them or none.

    Raises:
        ValueError: No batch moved any probe.
    """
    before, after = np.asarray(uncorrected, dtype=np.float64), np.asarray(corrected, dtype=np.float64)
    moved = before.mean(1) > NOTHING
    if not moved.any():
        raise ValueError("no uncorrected update moved any probe: raise learning_rate or updates")
    blocks = _blocks(moved, block)
    samples = _resampled(before[moved], after[moved], blocks, np.random.default_rng([seed, 5]))
    ends = np.quantile(samples, [0.025, 0.975], axis=0)
    enough = len(blocks) >= LEAST_FOR_P90
    median, p90 = _summary(1 - after[moved].mean(1) / before[moved].mean(1))
    return Reduction(
        Interval(float(median), float(ends[0, 0]), float(ends[1, 0])),
        Interval(float(p90), float(ends[0, 1]), float(ends[1, 1])) if enough else Interval(float(p90), None, None),
        int(moved.sum()),
        int((~moved).sum()),
        samples[:, 0],
    )


def _blocks(moved: np.ndarray, size: int) -> np.ndarray:
    """Positions among the batches that moved, block by block, filled up with -1."""
    of_block = (np.arange(len(moved)) // size)[moved]
    blocks = [np.flatnonzero(of_block == number) for number in np.unique(of_block)]
    return np.array([np.pad(some, (0, size - len(some)), constant_values=-1) for some in blocks])


def _resampled(before: np.ndarray, after: np.ndarray, blocks: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Median and 90th percentile of each bootstrap sample, shape (`RESAMPLES`, 2)."""
    probes = before.shape[1]
    drawn = blocks[random.integers(len(blocks), size=(RESAMPLES, len(blocks)))].reshape(RESAMPLES, -1)
    weights = random.multinomial(probes, np.full(probes, 1 / probes), size=RESAMPLES)
    # a sample of probes that did not move at all has no ratio to tell: nothing was reduced
    reductions = 1 - (weights @ after.T) / np.maximum(weights @ before.T, NOTHING)
    return _summary(np.where(drawn < 0, np.nan, np.take_along_axis(reductions, drawn, axis=1)))


def _summary(reductions: np.ndarray) -> np.ndarray:
    """Median and 90th percentile over the last axis, which they become; NaN is left out."""
    ordered = np.sort(reductions, axis=-1)  # NaN last
    places = np.array([0.5, 0.9]) * ((~np.isnan(ordered)).sum(-1)[..., None] - 1)
    below = np.floor(places).astype(int)
    low, high = (np.take_along_axis(ordered, at, -1) for at in (below, np.ceil(places).astype(int)))
    return np.asarray(low + (places - below) * (high - low))
