"""How well a score finds known risky rows: AUROC and recall at a share dropped, with bootstrap intervals.

Shapes: n rows, G distinct scores, R bootstrap samples drawn at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualselect.evaluation.intervals import Mean


DROPPED = (0.05, 0.1, 0.2)
"""Shares of all rows, highest scores first, at which the recall of risky rows is told."""
RESAMPLES = 1000
# Numbers drawn at once, so that many rows do not need much memory.
_DRAWN = 4_000_000


@dataclass(frozen=True)
class Detection:
    """How well a score tells risky rows from others.

    Attributes:
        auroc: Chance that a risky row has the higher score than another row, ties half.
        recall: For each of `DROPPED` the share of risky rows among the rows that are dropped first.
    """

    auroc: Mean
    recall: Mapping[float, Mean]

    def as_values(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "auroc": vars(self.auroc),
            "recall": {f"{share:g}": vars(found) for share, found in self.recall.items()},
        }


def detection(scores: Sequence[float] | np.ndarray, risky: Sequence[bool] | np.ndarray, *, seed: int = 0) -> Detection:
    """AUROC and recall of a score, each with the 95% percentile bootstrap interval.

    A sample draws risky rows and other rows apart, as many as there are. Equal scores share their rank; where a share
    to drop ends among equal scores, they are dropped in part.

    Args:
        scores: Shape (n,), finite, high means risky.
        risky: Shape (n,).
        seed: Of the samples.

    Raises:
        ValueError: There is no risky row, no other row, or a score that is not finite.
    """
    return mean_detection([(scores, risky)], seed=seed)


def mean_detection(
    parts: Sequence[tuple[Sequence[float] | np.ndarray, Sequence[bool] | np.ndarray]], *, seed: int = 0
) -> Detection:
    """The mean over several data sets, such as those of several seeds; each sample draws within each of them.

    Args:
        parts: Scores and labels of each, as for `detection`.
        seed: Of the samples.

    Raises:
        ValueError: As for `detection`.
    """
    arrays = [(np.asarray(scores, dtype=np.float64), np.asarray(risky, dtype=bool)) for scores, risky in parts]
    # a generator for each: the same draws would vary together, and their mean as much as one of them
    drawn = [_bootstrap(*part, np.random.default_rng([seed, place])) for place, part in enumerate(arrays)]
    values = np.mean([found for found, _ in drawn], axis=0)
    low, high = np.quantile(np.mean([samples for _, samples in drawn], axis=0), [0.025, 0.975], axis=0)
    count = sum(len(scores) for scores, _ in parts)
    numbers = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    means = [Mean(*its, count=count) for its in numbers]
    return Detection(means[0], dict(zip(DROPPED, means[1:], strict=True)))


def _bootstrap(scores: np.ndarray, risky: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The measures, (1 + shares,), and those of the samples, (RESAMPLES, 1 + shares)."""
    if not risky.any() or risky.all() or not np.isfinite(scores).all():
        raise ValueError("detection needs finite scores of at least one risky row and one other")
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    labels = risky[order]
    ones = labels[None].astype(np.float64)
    samples = [_measures(one, other, starts) for one, other in _samples(labels, random)]
    return _measures(ones, 1.0 - ones, starts)[0], np.concatenate(samples)


def _samples(labels: np.ndarray, random: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """How often each row was drawn, as risky and as another row, both (R, n)."""
    risky, others = int(labels.sum()), int((~labels).sum())
    at_once = max(1, _DRAWN // len(labels))
    for start in range(0, RESAMPLES, at_once):
        size = min(at_once, RESAMPLES - start)
        positive, negative = np.zeros((size, len(labels))), np.zeros((size, len(labels)))
        positive[:, labels] = random.multinomial(risky, np.full(risky, 1 / risky), size)
        negative[:, ~labels] = random.multinomial(others, np.full(others, 1 / others), size)
        yield positive, negative


def _measures(positive: np.ndarray, negative: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """AUROC and recalls, (R, 1 + shares), from counts (R, n) in order of falling scores."""
    risky = np.add.reduceat(positive, starts, axis=1)
    others = np.add.reduceat(negative, starts, axis=1)
    below = others.sum(1, keepdims=True) - others.cumsum(1)
    columns = [(risky * (below + others / 2)).sum(1) / (risky.sum(1) * others.sum(1))]
    size = risky + others
    before = size.cumsum(1) - size
    for share in DROPPED:
        wanted = share * size.sum(1, keepdims=True)
        taken = ((wanted - before) / np.maximum(size, 1)).clip(0, 1)
        columns.append((taken * risky).sum(1) / risky.sum(1))
    return np.stack(columns, axis=1)
