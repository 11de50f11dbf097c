"""Gradient directions of the reference pool, computed in one pass over it.

Memory does not grow with the pool: only weighted sums of the reference gradients are stored (one per category and one
per kind of answer), plus the gradients of the highest-ranked references, as many as fit into `MAX_STORED_BYTES`.

Shapes: N references, K stored references, C categories, B rows in a batch, P trainable parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from dualselect.auditing.engine import Engine
from dualselect.auditing.pool import Pool
from dualselect.data.token_columns import token_rows
from dualselect.gradients import Score, Sum
from dualselect.gradients.layout import cosines_of
from dualselect.selection import Choice, without_components


MAX_STORED = 32
MAX_STORED_BYTES = 512 * 2**20
"""Two gradients per stored reference: 9 references for a LoRA of 6.8M parameters, 32 for one of up to 2M."""
MOST_CONFLICTS = 3
"""Largest number of references named per row, among references with a negative cosine."""


DIRECTIONS = ("cosine", "safe_cosine", "contrast_cosine", "harmless_free_cosine")


@dataclass(frozen=True)
class ReferenceDirections:
    """Directions that task gradients are compared with.

    Attributes:
        table: All directions, shape (4 + C + 2K, P): one per name in `DIRECTIONS`, the mean scored gradient of each
            category, and the gradients of the stored references' safe responses and of their contrasts.
        categories: Names of the C categories.
        stored: Pool positions of the K stored references, highest score first.
        contrasted: Whether a reference is scored by the gradient of its safe response minus its contrast's gradient.
    """

    table: Tensor
    categories: list[str]
    stored: list[int]
    contrasted: bool

    def cosines(self, score: Score) -> dict[str, Tensor]:
        """Cosines of B task gradients, by name.

        Args:
            score: The score sink of the B rows, with `table` as its directions.

        Returns:
            Shape (B,) each, except `categories` (B, C) and `references` (B, K).
        """
        named, by_category, safe, unsafe = self.split(score.cosines)
        references = safe
        if self.contrasted:
            _, _, safe_dots, unsafe_dots = self.split(score.dots)
            references = cosines_of(safe_dots - unsafe_dots, score.norms, self._contrast_norms[:, None])
        return {
            **{name: named[index] for index, name in enumerate(DIRECTIONS)},
            "nearest_safe": safe.amax(0),
            "nearest_unsafe": unsafe.amax(0),
            "categories": by_category.T,
            "references": references.T,
        }

    @cached_property
    def _contrast_norms(self) -> Tensor:
        _, _, safe, unsafe = self.split(self.table)
        return torch.stack([torch.linalg.vector_norm(one - other) for one, other in zip(safe, unsafe, strict=True)])

    def split(self, values: Tensor) -> list[Tensor]:
        """Split rows of `table`, or values per row of it: named, by category, safe responses, contrasts."""
        count = len(self.stored)
        return list(values.split([len(DIRECTIONS), len(self.categories), count, count]))


def stored_count(selected: int, parameters: int) -> int:
    """Number of references whose gradients are stored."""
    return max(1, min(selected, MAX_STORED, MAX_STORED_BYTES // (8 * parameters)))


def compute_directions(
    engine: Engine,
    pool: Pool,
    choice: Choice,
    scores: Tensor,
    held_out: Sequence[int],
    filter_direction: Tensor | None,
) -> ReferenceDirections:
    """Compute all directions in one pass over the pool, with two gradients per reference.

    Args:
        engine: The model after the warm-up.
        pool: The pool.
        choice: The selected references.
        scores: Scores of all references, shape (N,).
        held_out: Positions of the references that calibrate the category thresholds. They are left out of the
            category directions, unless a category has no other references.
        filter_direction: Shape (P,), what training scores task rows against; None without a contrast, where that is
            the direction of the selected references.
    """
    layout, contrasted = engine.layout, engine.config.reference_contrast != "none"
    order = sorted(choice.kept, key=lambda position: (-float(scores[position]), position))
    stored = order[: stored_count(len(order), layout.size)]
    categories = pool.named_categories
    # one weighted sum of the pool per row: the selected references, each category, each stored reference
    weights = torch.cat(
        [
            (choice.weights * (torch.tensor(pool.sides) == 0))[None].float(),
            _category_weights(categories, pool.categories, set(held_out)),
            nn.functional.one_hot(torch.tensor(stored), len(pool.ids)).float(),
        ]
    )
    sums = layout.zeros(2, len(weights))
    for positions in engine.batches(pool.by_length, "Reference directions"):
        rows_used = weights[:, positions].any(1).nonzero().flatten()
        if not len(rows_used):  # a batch of held-out references
            continue
        for rows, total in zip((pool.tokens, pool.contrasts), sums, strict=True):
            sink = Sum(layout, weights[rows_used][:, positions])
            engine.run_rows(token_rows(rows, positions), [sink])
            total[rows_used.to(total.device)] += sink.total
    (safe, by_category, safe_stored), (unsafe, unsafe_by_category, unsafe_stored) = (
        total.split([1, len(categories), len(stored)]) for total in sums
    )
    contrast = safe[0] - unsafe[0]
    harmless_free = without_components(safe[0], [_harmless_direction(engine, pool)])
    scored = safe[0] if filter_direction is None else filter_direction
    named = torch.stack([scored, safe[0], contrast, harmless_free])
    if contrasted:
        by_category -= unsafe_by_category
    table = torch.cat([named, by_category, safe_stored, unsafe_stored])
    return ReferenceDirections(table, categories, stored, contrasted)


def _category_weights(categories: Sequence[str], category_of: Sequence[str], held_out: set[int]) -> Tensor:
    """Weight of each reference in each category's mean, shape (C, N)."""
    weights = torch.zeros(len(categories), len(category_of))
    for index, category in enumerate(categories):
        members = [position for position, name in enumerate(category_of) if name == category]
        used = [position for position in members if position not in held_out] or members
        weights[index, used] = 1.0 / len(used)
    return weights


def _harmless_direction(engine: Engine, pool: Pool) -> Tensor:
    """Mean gradient of half of the harmless conversations; the other half calibrates."""
    total, (rows, _) = engine.layout.zeros(), pool.harmless_halves
    for positions in engine.batches(rows, "Harmless direction"):
        sink = Sum(engine.layout, torch.full((len(positions),), 1 / len(rows)))
        engine.run_rows(token_rows(pool.harmless_tokens, positions), [sink])
        total += sink.total[0]
    return total
