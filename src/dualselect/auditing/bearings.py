"""The directions that every task row is compared with, from one pass over the reference pool.

Memory does not grow with the pool: of the references' gradients, sums are kept (one for each category and one for
each kind of answer), and the gradients themselves of the few that rank highest, as many as `KEPT_BYTES` holds.

Shapes: N references, K kept, C categories, B rows in a batch, P trainable parameters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dualselect.auditing.engine import Engine, token_rows
from dualselect.auditing.pool import Pool
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.selection import Choice


KEPT_REFERENCES = 32
KEPT_BYTES = 512 * 2**20
"""Of the gradients of kept references, two for each: 9 of a LoRA of 6.8M parameters, all 32 of one of up to 2M."""
MOST_CONFLICTS = 3
"""References named for each row, at most: of those that it pulls against."""


@dataclass(frozen=True)
class Bearings:
    """What rows are compared with.

    Attributes:
        directions: For each direction of `DIRECTIONS` a vector, shape (4, P).
        categories: Names of the C categories.
        of_categories: Mean scored gradient of each, shape (C, P).
        kept: Positions in the pool of the K kept references, highest score first.
        safe: Gradients of their safe responses, shape (K, P).
        unsafe: Gradients of their contrasts, shape (K, P).
        contrasted: Whether a reference's scored gradient is that of the safe response minus that of the contrast.
    """

    directions: Tensor
    categories: list[str]
    of_categories: Tensor
    kept: list[int]
    safe: Tensor
    unsafe: Tensor
    contrasted: bool

    def numbers(self, gradients: Tensor) -> dict[str, Tensor]:
        """Cosines of B rows, each of shape (B,) but `categories` (B, C) and `references` (B, K)."""
        named = unit_cosines(gradients, self.directions)
        scored = self.safe - self.unsafe if self.contrasted else self.safe
        return {
            **{name: named[:, place] for place, name in enumerate(DIRECTIONS)},
            "nearest_safe": unit_cosines(gradients, self.safe).amax(1),
            "nearest_unsafe": unit_cosines(gradients, self.unsafe).amax(1),
            "categories": unit_cosines(gradients, self.of_categories),
            "references": unit_cosines(gradients, scored),
        }


DIRECTIONS = ("cosine", "safe_cosine", "contrast_cosine", "harmless_free_cosine")


def unit_cosines(gradients: Tensor, directions: Tensor) -> Tensor:
    """Cosine of each of B gradients to each of D directions, (B, P) and (D, P) to (B, D); 0 where either is none."""
    lengths = torch.linalg.vector_norm(gradients, dim=1)[:, None] * torch.linalg.vector_norm(directions, dim=1)
    short = (torch.linalg.vector_norm(gradients, dim=1)[:, None] < NORM_FLOOR) | (
        torch.linalg.vector_norm(directions, dim=1) < NORM_FLOOR
    )
    return ((gradients @ directions.T) / lengths.masked_fill(short, 1.0)).masked_fill(short, 0.0).clamp(-1.0, 1.0)


def kept_count(selected: int, parameters: int) -> int:
    """How many references' gradients are kept."""
    return max(1, min(selected, KEPT_REFERENCES, KEPT_BYTES // (8 * parameters)))


def take_bearings(
    engine: Engine,
    pool: Pool,
    choice: Choice,
    scores: Tensor,
    held_out: Sequence[int],
) -> Bearings:
    """One pass over the pool: a gradient of each safe response and one of each contrast.

    Args:
        engine: The model after the warm-up.
        pool: The pool.
        choice: The selected references.
        scores: Of all references, shape (N,).
        held_out: Positions of references that are left out of the category directions, since the conflict of these
            is calibrated on them; one that has no others keeps them.
    """
    layout, contrasted = engine.layout, engine.config.reference_contrast != "none"
    order = sorted(choice.kept, key=lambda position: (-float(scores[position]), position))
    kept = order[: kept_count(len(order), layout.size)]
    places = {position: place for place, position in enumerate(kept)}
    safe, unsafe = layout.zeros(len(kept)), layout.zeros(len(kept))
    sums = layout.zeros(2)
    categories, of_reference = pool.named_categories, pool.categories
    weights = _category_weights(categories, of_reference, set(held_out)).to(layout.device)
    of_categories = layout.zeros(len(categories))
    for positions in engine.batches(pool.by_length, "Reference directions"):
        one, other = (
            engine.row_gradients(token_rows(rows, positions)).gradients for rows in (pool.tokens, pool.contrasts)
        )
        chosen = choice.weights[positions].float().to(layout.device)
        sums += torch.stack([chosen @ one, chosen @ other])
        of_categories += weights[:, positions] @ (one - other if contrasted else one)
        for row, position in enumerate(positions):
            if position in places:
                safe[places[position]], unsafe[places[position]] = one[row], other[row]
    contrast = sums[0] - sums[1]
    free = _without(sums[0], _harmless_direction(engine, pool))
    directions = torch.stack([contrast if contrasted else sums[0], sums[0], contrast, free])
    return Bearings(directions, categories, of_categories, kept, safe, unsafe, contrasted)


def _category_weights(categories: Sequence[str], of_reference: Sequence[str], held_out: set[int]) -> Tensor:
    """Weight of each reference in each category's mean, shape (C, N)."""
    weights = torch.zeros(len(categories), len(of_reference))
    for place, category in enumerate(categories):
        own = [position for position, name in enumerate(of_reference) if name == category]
        used = [position for position in own if position not in held_out] or own
        weights[place, used] = 1.0 / len(used)
    return weights


def _harmless_direction(engine: Engine, pool: Pool) -> Tensor:
    """Mean gradient of half of the harmless conversations; the rest calibrates."""
    total, (rows, _) = engine.layout.zeros(), pool.harmless_halves
    for positions in engine.batches(rows, "Harmless direction"):
        total += engine.row_gradients(token_rows(pool.harmless_tokens, positions)).gradients.sum(0) / len(rows)
    return total


def _without(direction: Tensor, other: Tensor) -> Tensor:
    """What is left of a direction when its component along another one is taken away."""
    length = other @ other
    return direction if length < NORM_FLOOR**2 else direction - (direction @ other) / length * other
