"""The reference pool against all batches at once: one pass scores it, a second makes the directions of the selected.

Both hold one batch of gradients, whatever the size of the pool; what grows with it is a few numbers of each row.

Shapes: N references, M directions, C choices, B examples in a batch, P trainable parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm

from dualselect.diagnostic.rows import DiagnosticRows
from dualselect.diagnostic.sketch import CountSketch, cosine_table
from dualselect.diagnostic.subject import Subject, parts_of
from dualselect.evaluation.store import Store
from dualselect.gradients import check_non_finite
from dualselect.selection import Choice


SKETCH_SAMPLE = 32
"""References whose exact cosines are compared with the sketched ones."""


@dataclass(frozen=True)
class PoolNumbers:
    """What the first pass found.

    Attributes:
        preservation_losses: How badly each reference is preserved, shape (N,), float64.
        cosines: Of each reference to each direction, shape (M, N), float64.
        sketch_errors: Absolute errors of sketched cosines on a sample of the pool, shape (M, S); None without sketch.
        exact_sample: The exact cosines of that sample, shape (M, S); None without sketch.
    """

    preservation_losses: Tensor
    cosines: Tensor
    sketch_errors: Tensor | None = None
    exact_sample: Tensor | None = None


def score_pool(
    subject: Subject, rows: DiagnosticRows, directions: Tensor, store: Store, *, sketch: CountSketch | None
) -> PoolNumbers:
    """Score every reference against every direction, each batch of references kept on disk as it is done.

    Args:
        subject: The model.
        rows: The pool, and what is subtracted from its gradients.
        directions: Shape (M, P).
        store: Where batches that are done are kept.
        sketch: For sketched cosines; None for exact ones.
    """
    pool = rows.pool.tokens
    losses = torch.zeros(len(pool), dtype=torch.float64)
    cosines = torch.zeros(len(directions), len(pool), dtype=torch.float64)
    exact = torch.zeros_like(cosines)
    sketched = None if sketch is None else sketch(directions)
    sampled = [] if sketch is None else list(range(0, len(pool), max(1, len(pool) // SKETCH_SAMPLE)))
    for positions in _batches(pool, range(len(pool)), subject, "Scoring the pool"):
        key = f"pool/{positions[0]}"
        sample = [place for place, row in enumerate(positions) if row in sampled]
        if key not in store:
            of_safe = subject.gradients(pool, positions)
            gradients = _contrasted(subject, rows, positions, of_safe.gradients)
            found = cosine_table(gradients, directions) if sketch is None else _sketched(sketch, sketched, gradients)
            preserved = _preservation(subject, pool, positions, of_safe.losses.cpu().double())
            ids = rows.pool.ids_of([rows.pool.indices[position] for position in positions])
            check_non_finite(preserved + found.cpu().double().sum(0), ids, "a reference's loss or gradient")
            numbers = {"losses": preserved.tolist(), "cosines": found.tolist()}
            if sample:
                numbers["exact"] = cosine_table(gradients[sample], directions).tolist()
            store.add({key: numbers})
        done = store[key]
        losses[positions] = torch.tensor(done["losses"], dtype=torch.float64)
        cosines[:, positions] = torch.tensor(done["cosines"], dtype=torch.float64)
        if sample:
            exact[:, [positions[place] for place in sample]] = torch.tensor(done["exact"], dtype=torch.float64)
    if sketch is None:
        return PoolNumbers(losses, cosines)
    exact = exact[:, sampled]
    return PoolNumbers(losses, cosines, (exact - cosines[:, sampled]).abs(), exact)


def reference_directions(subject: Subject, pool: Dataset, choices: Sequence[Choice]) -> Tensor:
    """Weighted mean gradient of each of several choices, shape (C, P), in one pass over what any of them selected."""
    weights = torch.stack([choice.weights for choice in choices]).float().to(subject.layout.device)
    directions = subject.layout.zeros(len(choices))
    selected = sorted({row for choice in choices for row in choice.kept})
    for positions in _batches(pool, selected, subject, "Reference directions"):
        directions += weights[:, positions] @ subject.gradients(pool, positions).gradients
    return directions


def _contrasted(subject: Subject, rows: DiagnosticRows, positions: list[int], gradients: Tensor) -> Tensor:
    if rows.contrast is None:
        return gradients
    return gradients - subject.gradients(rows.contrast, positions).gradients


def _sketched(sketch: CountSketch, directions: Tensor | None, gradients: Tensor) -> Tensor:
    assert directions is not None
    return cosine_table(sketch(gradients), directions)


def _preservation(subject: Subject, pool: Dataset, positions: list[int], losses: Tensor) -> Tensor:
    kind = subject.config.preservation_loss
    if kind == "kl":
        return subject.divergences(pool, positions).cpu().double()
    if kind == "excess":
        with subject.start_model():
            return losses - subject.losses(pool, positions).cpu().double()
    return losses


def _batches(pool: Dataset, positions: Sequence[int], subject: Subject, what: str) -> "tqdm[list[int]]":
    lengths = [len(row) for row in pool["input_ids"]]
    # neighbors of like length need little padding
    by_length = sorted(positions, key=lambda position: (lengths[position], position))
    parts = list(parts_of(by_length, subject.config.reference_micro_batch_size))
    return tqdm(parts, desc=what, unit="batch", disable=subject.config.disable_tqdm)
