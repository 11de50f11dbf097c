"""Batches of the reference pool, and the gradient of a loss on them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dualselect.methods.method import Run
from dualselect.training.references import without_dropout


class Memory:
    """The pool, a batch at a time: all of it in a random order, then all of it in another.

    Args:
        run: The run.
        size: Rows of a batch; a pool that is smaller gives all it has.
    """

    def __init__(self, run: Run, size: int) -> None:
        assert run.pool is not None
        self._run, self._pool, self._size = run, run.pool, min(size, len(run.pool))
        self._positions = self._forever()

    def gradient(self, loss: Callable[[nn.Module, Mapping[str, Any]], Tensor]) -> Tensor:
        """Gradient of the mean of `loss`, which gives one number per example, on the next batch, shape (P,).

        Dropout is off, and `.grad` is left as it is.
        """
        batch = self._run.batch(self._pool.select([next(self._positions) for _ in range(self._size)]))
        parameters = list(self._run.layout.parameters(self._run.model).values())
        with without_dropout(self._run.model), torch.enable_grad():
            found = torch.autograd.grad(
                loss(self._run.model, batch).mean(), parameters, allow_unused=True, materialize_grads=True
            )
        return torch.cat([piece.float().flatten() for piece in found])

    def _forever(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._run.seed)
        while True:
            yield from torch.randperm(len(self._pool), generator=generator).tolist()
