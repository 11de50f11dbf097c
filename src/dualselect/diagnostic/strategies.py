"""Four strategies that select K of N references for each of M task batches: pure functions of numbers."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import torch
from torch import Tensor

from dualselect.selection import Choice, choose_highest, reference_scores


def dualselect(
    preservation_losses: Tensor,
    cosines: Tensor,
    count: int,
    *,
    loss_weight: float,
    conflict_weight: float,
    temperature: float | None,
) -> list[Choice]:
    """Highest-scored references of each batch: poorly preserved and in conflict with its direction.

    Args:
        preservation_losses: Shape (N,).
        cosines: Cosine of each reference to each batch's direction, shape (M, N).
        count: K.
        loss_weight: mu_r.
        conflict_weight: nu.
        temperature: Temperature of soft weights; None for equal weights.
    """
    return [
        choose_highest(
            reference_scores(preservation_losses, row, loss_weight=loss_weight, conflict_weight=conflict_weight),
            count,
            temperature=temperature,
        )
        for row in cosines
    ]


def periodic_random(references: int, count: int, batches: int, *, period: int, seed: int) -> list[Choice]:
    """A random K-subset, redrawn every `period` batches."""
    random = np.random.default_rng([seed, 1])
    drawn = [
        _equal(random.choice(references, count, replace=False).tolist(), references)
        for _ in range(-(-batches // period))
    ]
    return [drawn[batch // period] for batch in range(batches)]


def uniform(categories: Sequence[str], count: int, batches: int, *, seed: int) -> list[Choice]:
    """K random references for each batch, taken from the categories in turn."""
    random = np.random.default_rng([seed, 2])
    members = _members(categories)
    choices = []
    for shares in category_shares(categories, count, batches, seed=seed):
        kept = [
            int(row)
            for rows, share in zip(members, shares, strict=True)
            for row in random.choice(rows, share, replace=False)
        ]
        choices.append(_equal(kept, len(categories)))
    return choices


def category_shares(categories: Sequence[str], count: int, batches: int, *, seed: int) -> list[list[int]]:
    """Number of references per category that `uniform` selects for each batch.

    Categories alternate in a random order, redrawn for each batch; exhausted categories are skipped.

    Args:
        categories: Category of each reference.
        count: K, at most the number of references.
        batches: M.
        seed: Seed of the orders.

    Returns:
        For each batch the counts of the categories, in alphabetical order.
    """
    random = np.random.default_rng([seed, 6])
    sizes = [len(rows) for rows in _members(categories)]
    shares = []
    for _ in range(batches):
        taken, order = [0] * len(sizes), cycle(random.permutation(len(sizes)))
        while sum(taken) < count:
            turn = next(order)
            taken[turn] += taken[turn] < sizes[turn]
        shares.append(taken)
    return shares


def _members(categories: Sequence[str]) -> list[list[int]]:
    """Positions of the references by category, in alphabetical order."""
    return [[row for row, category in enumerate(categories) if category == name] for name in sorted(set(categories))]


def _equal(kept: list[int], references: int) -> Choice:
    weights = torch.zeros(references, dtype=torch.float64)
    weights[kept] = 1.0 / len(kept)
    return Choice(sorted(kept), weights)
