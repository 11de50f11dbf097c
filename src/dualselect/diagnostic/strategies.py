"""Four ways to pick K of N references for each of M task batches: pure functions of numbers."""

from collections.abc import Sequence

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
    """The highest-scored references of each batch: badly preserved, and in conflict with its direction.

    Args:
        preservation_losses: Shape (N,).
        cosines: Of each reference to each batch's direction, shape (M, N).
        count: K.
        loss_weight: mu_r.
        conflict_weight: nu.
        temperature: Of soft weights; None for equal ones.
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
    """A random K-subset, drawn anew every `period` batches."""
    random = np.random.default_rng([seed, 1])
    drawn = [
        _equal(random.choice(references, count, replace=False).tolist(), references)
        for _ in range(-(-batches // period))
    ]
    return [drawn[batch // period] for batch in range(batches)]


def uniform(categories: Sequence[str], count: int, batches: int, *, seed: int) -> list[Choice]:
    """K references for each batch, a random one of each category in turn; the next batch goes on with the turn."""
    random = np.random.default_rng([seed, 2])
    names, members = _members(categories)
    choices = []
    for shares in turns(categories, count, batches):
        kept = [
            int(row)
            for name, share in zip(names, shares, strict=True)
            for row in random.choice(members[name], share, replace=False)
        ]
        choices.append(_equal(kept, len(categories)))
    return choices


def turns(categories: Sequence[str], count: int, batches: int) -> list[list[int]]:
    """How many references `uniform` takes of each category, in alphabetical order, for each batch."""
    names, members = _members(categories)
    turn, shares = 0, []
    for _ in range(batches):
        taken = [0] * len(names)
        while sum(taken) < min(count, len(categories)):
            if taken[turn] < len(members[names[turn]]):
                taken[turn] += 1
            turn = (turn + 1) % len(names)
        shares.append(taken)
    return shares


def _members(categories: Sequence[str]) -> tuple[list[str], dict[str, list[int]]]:
    members: dict[str, list[int]] = {name: [] for name in sorted(set(categories))}
    for row, name in enumerate(categories):
        members[name].append(row)
    return list(members), members


def _equal(kept: list[int], references: int) -> Choice:
    weights = torch.zeros(references, dtype=torch.float64)
    weights[kept] = 1.0 / len(kept)
    return Choice(sorted(kept), weights)
