"""Score the reference pool against all task batches in one pass; compute reference directions in a second pass.

Both passes hold the gradients of one batch; only a few numbers per reference grow with the pool.

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
"""Number of references whose exact and sketched cosines are compared."""


@dataclass(frozen=True)
class PoolNumbers:
    """Results of the first pass.

    Attributes:
        preservation_losses: Shape (N,), float64.
        cosines: Cosine of each reference to each direction, shape (M, N), float64.
        sketch_errors: Absolute errors of sketched cosines on a sample of the pool, shape (M, S); None without a
            sketch.
        exact_sample: Exact cosines of that sample, shape (M, S); None without a sketch.
    """

    preservation_losses: Tensor
    cosines: Tensor
    sketch_errors: Tensor | None = None
    exact_sample: Tensor | None = None


def score_pool(
    subject: Subject, rows: DiagnosticRows, directions: Tensor, store: Store, *, sketch: CountSketch | None
) -> PoolNumbers:
    """Score every reference against every direction; each batch of references is stored at once.

    Args:
        subject: The model.
        rows: The pool and its contrasts.
        directions: Task directions, shape (M, P).
        store: Stores finished batches.
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
        sample = [index for index, row in enumerate(positions) if row in sampled]
        if key not in store:
            safe = subject.gradients(pool, positions)
            gradients = _contrasted(subject, rows, positions, safe.gradients)
            batch_cosines = (
                cosine_table(gradients, directions) if sketch is None else _sketched(sketch, sketched, gradients)
            )
            preserved = _preservation(subject, pool, positions, safe.losses.cpu().double())
            ids = rows.pool.ids_of([rows.pool.indices[position] for position in positions])
            check_non_finite(preserved + batch_cosines.cpu().double().sum(0), ids, "a reference's loss or gradient")
            numbers = {"losses": preserved.tolist(), "cosines": batch_cosines.tolist()}
            if sample:
                numbers["exact"] = cosine_table(gradients[sample], directions).tolist()
            store.add({key: numbers})
        done = store[key]
        losses[positions] = torch.tensor(done["losses"], dtype=torch.float64)
        cosines[:, positions] = torch.tensor(done["cosines"], dtype=torch.float64)
        if sample:
            exact[:, [positions[index] for index in sample]] = torch.tensor(done["exact"], dtype=torch.float64)
    if sketch is None:
        return PoolNumbers(losses, cosines)
    exact = exact[:, sampled]
    return PoolNumbers(losses, cosines, (exact - cosines[:, sampled]).abs(), exact)


def reference_directions(subject: Subject, pool: Dataset, choices: Sequence[Choice]) -> Tensor:
    """Weighted mean gradient of each choice, shape (C, P), in one pass over all selected references."""
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
    # sorted by length to reduce padding
    by_length = sorted(positions, key=lambda position: (lengths[position], position))
    parts = list(parts_of(by_length, subject.config.reference_micro_batch_size))
    return tqdm(parts, desc=what, unit="batch", disable=subject.config.disable_tqdm)
