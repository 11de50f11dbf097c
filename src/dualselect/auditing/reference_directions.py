"""Gradient directions of the reference pool, computed in one pass over it.

Memory does not grow with the pool: only weighted sums of the reference gradients are stored (one per category and one
per kind of answer), plus the gradients of the highest-ranked references, as many as fit into `MAX_STORED_BYTES`.

Shapes: N references, K stored references, C categories, B rows in a batch, P trainable parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualselect.auditing.engine import Engine, token_rows
from dualselect.auditing.pool import Pool
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.selection import Choice


MAX_STORED = 32
MAX_STORED_BYTES = 512 * 2**20
"""Two gradients per stored reference: 9 references for a LoRA of 6.8M parameters, 32 for one of up to 2M."""
MOST_CONFLICTS = 3
"""Most references named per row, of those to which its cosine is negative."""


@dataclass(frozen=True)
class ReferenceDirections:
    """Directions that task gradients are compared with.

    Attributes:
        named: One direction per name in `DIRECTIONS`, shape (4, P).
        categories: Names of the C categories.
        by_category: Mean scored gradient per category, shape (C, P).
        stored: Pool positions of the K stored references, highest score first.
        safe: Gradients of their safe responses, shape (K, P).
        unsafe: Gradients of their contrasts, shape (K, P).
        contrasted: Whether a reference is scored by the gradient of its safe response minus that of its contrast.
    """

    named: Tensor
    categories: list[str]
    by_category: Tensor
    stored: list[int]
    safe: Tensor
    unsafe: Tensor
    contrasted: bool

    def cosines(self, gradients: Tensor) -> dict[str, Tensor]:
        """Cosines of B task gradients, by name.

        Args:
            gradients: Shape (B, P).

        Returns:
            Shape (B,) each, except `categories` (B, C) and `references` (B, K).
        """
        named = unit_cosines(gradients, self.named)
        scored = self.safe - self.unsafe if self.contrasted else self.safe
        return {
            **{name: named[:, index] for index, name in enumerate(DIRECTIONS)},
            "nearest_safe": unit_cosines(gradients, self.safe).amax(1),
            "nearest_unsafe": unit_cosines(gradients, self.unsafe).amax(1),
            "categories": unit_cosines(gradients, self.by_category),
            "references": unit_cosines(gradients, scored),
        }


DIRECTIONS = ("cosine", "safe_cosine", "contrast_cosine", "harmless_free_cosine")


def unit_cosines(gradients: Tensor, directions: Tensor) -> Tensor:
    """Pairwise cosines of B gradients (B, P) and D directions (D, P), shape (B, D); 0 if a norm is below the floor."""
    row_norms = torch.linalg.vector_norm(gradients, dim=1)[:, None]
    direction_norms = torch.linalg.vector_norm(directions, dim=1)
    vanishing = (row_norms < NORM_FLOOR) | (direction_norms < NORM_FLOOR)
    cosines = (gradients @ directions.T) / (row_norms * direction_norms).masked_fill(vanishing, 1.0)
    return cosines.masked_fill(vanishing, 0.0).clamp(-1.0, 1.0)


def stored_count(selected: int, parameters: int) -> int:
    """Number of references whose gradients are stored."""
    return max(1, min(selected, MAX_STORED, MAX_STORED_BYTES // (8 * parameters)))


def compute_directions(
    engine: Engine,
    pool: Pool,
    choice: Choice,
    scores: Tensor,
    held_out: Sequence[int],
) -> ReferenceDirections:
    """Compute all directions in one pass over the pool, with two gradients per reference.

    Args:
        engine: The model after the warm-up.
        pool: The pool.
        choice: The selected references.
        scores: Of all references, shape (N,).
        held_out: Positions of the references that calibrate the category thresholds. They are left out of the
            category directions, unless a category has no other references.
    """
    layout, contrasted = engine.layout, engine.config.reference_contrast != "none"
    order = sorted(choice.kept, key=lambda position: (-float(scores[position]), position))
    stored = order[: stored_count(len(order), layout.size)]
    slots = {position: slot for slot, position in enumerate(stored)}
    safe, unsafe = layout.zeros(len(stored)), layout.zeros(len(stored))
    sums = layout.zeros(2)
    categories = pool.named_categories
    weights = _category_weights(categories, pool.categories, set(held_out)).to(layout.device)
    by_category = layout.zeros(len(categories))
    for positions in engine.batches(pool.by_length, "Reference directions"):
        safe_gradients, unsafe_gradients = (
            engine.row_gradients(token_rows(rows, positions)).gradients for rows in (pool.tokens, pool.contrasts)
        )
        chosen = choice.weights[positions].float().to(layout.device)
        sums += torch.stack([chosen @ safe_gradients, chosen @ unsafe_gradients])
        by_category += weights[:, positions] @ (safe_gradients - unsafe_gradients if contrasted else safe_gradients)
        for row, position in enumerate(positions):
            if position in slots:
                safe[slots[position]], unsafe[slots[position]] = safe_gradients[row], unsafe_gradients[row]
    contrast = sums[0] - sums[1]
    harmless_free = _project_out(sums[0], _harmless_direction(engine, pool))
    named = torch.stack([contrast if contrasted else sums[0], sums[0], contrast, harmless_free])
    return ReferenceDirections(named, categories, by_category, stored, safe, unsafe, contrasted)


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
        total += engine.row_gradients(token_rows(pool.harmless_tokens, positions)).gradients.sum(0) / len(rows)
    return total


def _project_out(direction: Tensor, other: Tensor) -> Tensor:
    """Remove the component of a direction along another one."""
    squared_norm = other @ other
    return direction if squared_norm < NORM_FLOOR**2 else direction - (direction @ other) / squared_norm * other
