"""Count-sketch of a gradient (Charikar, Chen and Farach-Colton 2002).

Each coordinate is added to a random bucket with a random sign. Dot products are preserved in expectation, with a
standard deviation of about |a| |b| / sqrt(K).

Shapes: P trainable parameters, K buckets, B gradients.
"""

import torch
from torch import Tensor


class CountSketch:
    """A seeded linear map from P to K dimensions.

    Args:
        size: P.
        buckets: K.
        seed: Seed of buckets and signs.
        device: Device of the gradients.
    """

    def __init__(self, size: int, buckets: int, *, seed: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.buckets, self._device = buckets, device
        self._bucket = torch.randint(buckets, (size,), generator=generator).to(device)
        self._sign = (2.0 * torch.randint(2, (size,), generator=generator) - 1.0).to(device)

    def __call__(self, gradients: Tensor) -> Tensor:
        """Sketches, shape (B, K), of gradients, shape (B, P)."""
        sketches = self.zeros(len(gradients))
        self.add(sketches, gradients, slice(0, None))
        return sketches

    def zeros(self, count: int) -> Tensor:
        """Sketches of zero, shape (count, K), float32."""
        return torch.zeros(count, self.buckets, device=self._device)

    def add(self, sketches: Tensor, values: Tensor, stretch: slice) -> None:
        """Add the sketch of a stretch of B gradients, shape (B, its length), to `sketches`, shape (B, K)."""
        sketches.index_add_(1, self._bucket[stretch], values * self._sign[stretch])
