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

from dualselect.data.token_columns import TokenRow, token_rows
from dualselect.diagnostic.rows import DiagnosticRows
from dualselect.diagnostic.subject import Subject, parts_of
from dualselect.evaluation.store import Store
from dualselect.gradients import CountSketch, Score, Sketch, Sum
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.selection import Choice
from dualselect.training.nonfinite import check_non_finite


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
    """Score every reference against every direction. Each batch of references is stored immediately.

    Args:
        subject: The model.
        rows: The pool and its contrasts.
        directions: Task directions, shape (M, P).
        store: Stores finished batches.
        sketch: Count-sketch for sketched cosines; None for exact cosines.
    """
    pool = rows.pool.tokens
    losses = torch.zeros(len(pool), dtype=torch.float64)
    cosines = torch.zeros(len(directions), len(pool), dtype=torch.float64)
    exact = torch.zeros_like(cosines)
    sketched = None if sketch is None else sketch(directions)
    sampled = [] if sketch is None else list(range(0, len(pool), max(1, len(pool) // SKETCH_SAMPLE)))
    for positions in _batches(pool, range(len(pool)), subject, "Scoring the pool"):
        key = f"pool/{positions[0]}"
        sample = [position for position in positions if position in sampled]
        if key not in store:
            if sketch is None or sketched is None:
                found, batch_cosines = _exact(subject, rows, positions, directions)
            else:
                found, batch_cosines = _sketched(subject, rows, positions, sketch, sketched)
            preserved = _preservation(subject, pool, positions, found.cpu().double())
            ids = rows.pool.ids_of([rows.pool.indices[position] for position in positions])
            check_non_finite(preserved + batch_cosines.cpu().double().sum(0), ids, "a reference's loss or gradient")
            numbers = {"losses": preserved.tolist(), "cosines": batch_cosines.tolist()}
            if sample:
                numbers["exact"] = _exact(subject, rows, sample, directions)[1].tolist()
            store.add({key: numbers})
        done = store[key]
        losses[positions] = torch.tensor(done["losses"], dtype=torch.float64)
        cosines[:, positions] = torch.tensor(done["cosines"], dtype=torch.float64)
        if sample:
            exact[:, sample] = torch.tensor(done["exact"], dtype=torch.float64)
    if sketch is None:
        return PoolNumbers(losses, cosines)
    exact = exact[:, sampled]
    return PoolNumbers(losses, cosines, (exact - cosines[:, sampled]).abs(), exact)


def reference_directions(subject: Subject, pool: Dataset, choices: Sequence[Choice]) -> Tensor:
    """Weighted mean gradient of each choice, shape (C, P), in one pass over all selected references."""
    weights = torch.stack([choice.weights for choice in choices])
    directions = subject.layout.zeros(len(choices))
    selected = sorted({row for choice in choices for row in choice.kept})
    for positions in _batches(pool, selected, subject, "Reference directions"):
        sink = Sum(subject.layout, weights[:, positions])
        subject.run(token_rows(pool, positions), [sink])
        directions += sink.total
    return directions


def _exact(subject: Subject, rows: DiagnosticRows, positions: list[int], directions: Tensor) -> tuple[Tensor, Tensor]:
    """Losses of B references, shape (B,), and cosines to the directions, shape (M, B)."""
    score = Score(subject.layout, len(positions), directions, pairs=rows.contrast is not None)
    losses = subject.run(_references(rows, positions), [score])
    return losses[:: _rows_each(rows)], score.cosines


def _sketched(
    subject: Subject, rows: DiagnosticRows, positions: list[int], sketch: CountSketch, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """Same as `_exact`, but with count-sketches of gradients and directions."""
    sink = Sketch(sketch, len(positions) * _rows_each(rows))
    losses = subject.run(_references(rows, positions), [sink])
    sketches = sink.sketches if rows.contrast is None else sink.sketches[::2] - sink.sketches[1::2]
    return losses[:: _rows_each(rows)], cosine_table(sketches, directions)


def _rows_each(rows: DiagnosticRows) -> int:
    """Rows of a batch per reference: with contrasts, each reference is followed by its contrast."""
    return 1 if rows.contrast is None else 2


def _references(rows: DiagnosticRows, positions: list[int]) -> list[TokenRow]:
    safe = token_rows(rows.pool.tokens, positions)
    if rows.contrast is None:
        return safe
    return [row for pair in zip(safe, token_rows(rows.contrast, positions), strict=True) for row in pair]


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


def cosine_table(gradients: Tensor, directions: Tensor) -> Tensor:
    """Cosines of gradients to directions, or of their sketches.

    Args:
        gradients: Shape (B, P).
        directions: Shape (M, P).

    Returns:
        Shape (M, B); 0 where either norm is below `NORM_FLOOR`.
    """
    return (_unit(directions) @ _unit(gradients).T).clamp(-1.0, 1.0)


def _unit(vectors: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / norms.masked_fill(norms < NORM_FLOOR, torch.inf)
