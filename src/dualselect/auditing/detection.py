"""Detection of rows labeled risky: AUROC and recall at a dropped share, with bootstrap intervals.

Shapes: n rows, G distinct scores, R bootstrap samples per batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualselect.evaluation.intervals import Mean


DROPPED = (0.05, 0.1, 0.2)
"""Dropped shares of all rows, highest scores first, at which recall is reported."""
RESAMPLES = 1000
# counts per batch of samples; this limits memory for many rows
_BATCH_COUNTS = 4_000_000


@dataclass(frozen=True)
class Detection:
    """How well a score separates risky rows from others.

    Attributes:
        auroc: Probability that a risky row scores higher than another row; ties count half.
        recall: For each share of `DROPPED`, the share of risky rows that is dropped.
    """

    auroc: Mean
    recall: Mapping[float, Mean]

    def as_values(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "auroc": vars(self.auroc),
            "recall": {f"{share:g}": vars(mean) for share, mean in self.recall.items()},
        }


def detection(scores: Sequence[float] | np.ndarray, risky: Sequence[bool] | np.ndarray, *, seed: int = 0) -> Detection:
    """AUROC and recall of a score with 95% percentile bootstrap intervals.

    Resampling is stratified: risky rows and other rows are resampled separately. Ties share their rank; if a dropped
    share ends within ties, they are dropped fractionally.

    Args:
        scores: Finite scores, high means risky, shape (n,).
        risky: Labels, shape (n,).
        seed: Seed of the bootstrap.

    Raises:
        ValueError: There are no risky rows, no other rows, or a score is not finite.
    """
    return mean_detection([(scores, risky)], seed=seed)


def mean_detection(
    parts: Sequence[tuple[Sequence[float] | np.ndarray, Sequence[bool] | np.ndarray]], *, seed: int = 0
) -> Detection:
    """Mean detection over several data sets, such as seeds; the bootstrap resamples within each.

    Args:
        parts: Scores and labels of each data set, as in `detection`.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: As for `detection`.
    """
    arrays = [(np.asarray(scores, dtype=np.float64), np.asarray(risky, dtype=bool)) for scores, risky in parts]
    # independent generators: shared draws would be correlated, and their mean would vary as much as one data set
    results = [_bootstrap(*part, np.random.default_rng([seed, index])) for index, part in enumerate(arrays)]
    values = np.mean([measures for measures, _ in results], axis=0)
    low, high = np.quantile(np.mean([samples for _, samples in results], axis=0), [0.025, 0.975], axis=0)
    count = sum(len(scores) for scores, _ in parts)
    estimates = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    means = [Mean(*estimate, count=count) for estimate in estimates]
    return Detection(means[0], dict(zip(DROPPED, means[1:], strict=True)))


def _bootstrap(scores: np.ndarray, risky: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and recalls, (1 + shares,), and the same for each bootstrap sample, (RESAMPLES, 1 + shares)."""
    if not risky.any() or risky.all() or not np.isfinite(scores).all():
        raise ValueError("detection needs finite scores of at least one risky row and one other")
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    labels = risky[order]
    ones = labels[None].astype(np.float64)
    samples = [_measures(positive, negative, starts) for positive, negative in _samples(labels, random)]
    return _measures(ones, 1.0 - ones, starts)[0], np.concatenate(samples)


def _samples(labels: np.ndarray, random: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Bootstrap counts of risky rows and of other rows, both (R, n)."""
    risky, others = int(labels.sum()), int((~labels).sum())
    batch = max(1, _BATCH_COUNTS // len(labels))
    for start in range(0, RESAMPLES, batch):
        size = min(batch, RESAMPLES - start)
        positive, negative = np.zeros((size, len(labels))), np.zeros((size, len(labels)))
        positive[:, labels] = random.multinomial(risky, np.full(risky, 1 / risky), size)
        negative[:, ~labels] = random.multinomial(others, np.full(others, 1 / others), size)
        yield positive, negative


def _measures(positive: np.ndarray, negative: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """AUROC and recalls, (R, 1 + shares), from counts (R, n) in descending order of score."""
    risky = np.add.reduceat(positive, starts, axis=1)
    others = np.add.reduceat(negative, starts, axis=1)
    below = others.sum(1, keepdims=True) - others.cumsum(1)
    columns = [(risky * (below + others / 2)).sum(1) / (risky.sum(1) * others.sum(1))]
    size = risky + others
    before = size.cumsum(1) - size
    for share in DROPPED:
        target = share * size.sum(1, keepdims=True)
        taken = ((target - before) / np.maximum(size, 1)).clip(0, 1)
        columns.append((taken * risky).sum(1) / risky.sum(1))
    return np.stack(columns, axis=1)
