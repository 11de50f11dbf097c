"""A linear probe that separates compliances from safe responses by the hidden states of the model."""

from dataclasses import dataclass

import torch
from torch import Tensor


SHRINKAGE = 1.0
"""Weight of the identity in the covariance, relative to the mean variance (measured: docs/results.md)."""


@dataclass(frozen=True)
class Probe:
    """A direction in the space of hidden states.

    Attributes:
        weights: Shape (H,), float64.
        offset: Subtracted from the product.
    """

    weights: Tensor
    offset: float

    @classmethod
    def between(cls, compliances: Tensor, safe: Tensor) -> "Probe":
        """Fisher's linear discriminant (1936) with the mean within-class covariance shrunk towards the identity.

            w = (C + c I)^-1 (m_compliances - m_safe),    c = SHRINKAGE * trace(C) / H

        C has the rank of the samples at most, so the system is solved in their space (Woodbury).

        Args:
            compliances: Representations of unsafe responses, shape (M, H), M at least 1.
            safe: Representations of safe responses, shape (N, H), N at least 1.

        Returns:
            A probe that is 1 at the mean of the compliances and -1 at that of the safe responses; 0 everywhere if the
            two means are equal.
        """
        compliances, safe = compliances.cpu().double(), safe.cpu().double()
        gap = compliances.mean(0) - safe.mean(0)
        samples = torch.cat([_centered(compliances), _centered(safe)])
        shrink = SHRINKAGE * float(samples.square().sum()) / samples.shape[1]
        weights = gap
        if shrink > 0:
            inner = samples @ samples.T
            inner.diagonal().add_(shrink)
            weights = (gap - samples.T @ torch.linalg.solve(inner, samples @ gap)) / shrink
        length = float(weights @ gap) / 2
        if length <= 0:
            return cls(torch.zeros_like(gap), 0.0)
        weights = weights / length
        return cls(weights, float(weights @ (compliances.mean(0) + safe.mean(0)) / 2))

    def scores(self, states: Tensor) -> Tensor:
        """Scores of n representations, shape (n, H); positive means closer to the compliances.

        Returns:
            Shape (n,), float64, on the CPU.
        """
        return states.cpu().double() @ self.weights - self.offset


def _centered(values: Tensor) -> Tensor:
    """Rows whose products sum to half of the covariance."""
    return (values - values.mean(0)) / (2 * max(1, len(values) - 1)) ** 0.5
