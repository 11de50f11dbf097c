"""Count-sketch of a gradient (Charikar, Chen and Farach-Colton 2002).

Each coordinate is added to a random bucket with a random sign. Dot products are preserved in expectation, with a
standard deviation of about |a| |b| / sqrt(D).

Shapes: P trainable parameters, D buckets, B gradients.
"""

import torch
from torch import Tensor

from dualselect.gradients.layout import NORM_FLOOR


class CountSketch:
    """A seeded linear map from P to D dimensions.

    Args:
        size: P.
        buckets: D.
        seed: Seed of buckets and signs.
        device: Device of the gradients.
    """

    def __init__(self, size: int, buckets: int, *, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.buckets = buckets
        self._bucket = torch.randint(buckets, (size,), generator=generator).to(device)
        self._sign = (2.0 * torch.randint(2, (size,), generator=generator) - 1.0).to(device)

    def __call__(self, gradients: Tensor) -> Tensor:
        """Sketches, shape (B, D), of gradients, shape (B, P)."""
        sketches = gradients.new_zeros(len(gradients), self.buckets)
        return sketches.index_add_(1, self._bucket, gradients * self._sign)


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
