"""How much less the held-out probes moved, with intervals.

Shapes: M batches, Q probes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


RESAMPLES = 2000
NOTHING = 1e-12
"""A divergence, in nats, under which there is nothing to reduce."""


@dataclass(frozen=True)
class Interval:
    """A number with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


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


def reduction(uncorrected: Sequence[Sequence[float]], corrected: Sequence[Sequence[float]], *, seed: int) -> Reduction:
    """Reduction of each batch, 1 - mean KL corrected / mean KL uncorrected, summed up over batches.

    A bootstrap sample draws batches and, for all of them, probes: a probe that moves easily does so in every batch.

    Args:
        uncorrected: KL of each probe after the uncorrected updates of each batch, shape (M, Q), in nats.
        corrected: The same after corrected ones.
        seed: Of the samples.

    Raises:
        ValueError: No batch moved any probe.
    """
    before, after = np.asarray(uncorrected, dtype=np.float64), np.asarray(corrected, dtype=np.float64)
    moved = before.mean(1) > NOTHING
    if not moved.any():
        raise ValueError("no uncorrected update moved any probe: raise learning_rate or updates")
    before, after = before[moved], after[moved]
    samples = _resampled(before, after, np.random.default_rng([seed, 5]))
    ends = np.quantile(samples, [0.025, 0.975], axis=0)
    values = _summary(1 - after.mean(1) / before.mean(1))
    median, p90 = (Interval(float(values[it]), float(ends[0, it]), float(ends[1, it])) for it in range(2))
    return Reduction(median, p90, int(moved.sum()), int((~moved).sum()), samples[:, 0])


def _resampled(before: np.ndarray, after: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Median and 90th percentile of each bootstrap sample, shape (`RESAMPLES`, 2)."""
    batches, probes = before.shape
    drawn = random.integers(batches, size=(RESAMPLES, batches))
    weights = random.multinomial(probes, np.full(probes, 1 / probes), size=RESAMPLES)
    # a sample of probes that did not move at all has no ratio to tell: nothing was reduced
    reductions = 1 - (weights @ after.T) / np.maximum(weights @ before.T, NOTHING)
    return _summary(np.take_along_axis(reductions, drawn, axis=1))


def _summary(reductions: np.ndarray) -> np.ndarray:
    """Median and 90th percentile over the last axis, which they become."""
    return np.moveaxis(np.quantile(reductions, [0.5, 0.9], axis=-1), 0, -1)
