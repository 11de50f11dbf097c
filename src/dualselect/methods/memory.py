"""Batches of the reference pool, and the gradient of a loss on them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.methods.method import Run
from dualselect.training.references import without_dropout


class Memory:
    """Endless batches of the pool, reshuffled after each pass.

    Args:
        run: The run.
        size: Rows per batch, at most the pool.
    """

    def __init__(self, run: Run, size: int) -> None:
        assert run.pool is not None
        self._run, self._pool, self._size = run, run.pool, min(size, len(run.pool))
        self._positions = self._shuffled_positions()

    def gradient(self, loss: Callable[[nn.Module, Mapping[str, Any]], Tensor]) -> Tensor:
        """Gradient of the mean of `loss` on the next batch, shape (P,).

        Dropout is off, and `.grad` is not changed.

        Args:
            loss: Returns one value per example.
        """
        batch = self._run.batch(self._pool.select([next(self._positions) for _ in range(self._size)]))
        parameters = list(self._run.layout.parameters(self._run.model).values())
        with without_dropout(self._run.model), torch.enable_grad():
            gradients = torch.autograd.grad(
                loss(self._run.model, batch).mean(), parameters, allow_unused=True, materialize_grads=True
            )
        return torch.cat([piece.float().flatten() for piece in gradients])

    def _shuffled_positions(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._run.seed)
        while True:
            yield from torch.randperm(len(self._pool), generator=generator).tolist()
