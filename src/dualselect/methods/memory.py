"""Batches of the reference pool, the gradient of a loss on them, and the state that a later run continues."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dualselect.errors import ResumeError
from dualselect.methods.method import Run
from dualselect.selection import draw
from dualselect.system.files import write_atomically
from dualselect.training.references import without_dropout


STATE_FILE = "method_state.safetensors"
STEP_SEEDS = 1_000_003
"""The draw of step t has seed `seed * STEP_SEEDS + t`, as in `DualSelectTrainer`."""

ExampleLosses = Callable[[nn.Module, Mapping[str, Any]], Tensor]
"""Maps a model and a batch of B examples to a loss of shape (B,)."""


class Memory:
    """The pool of a run, in batches.

    Args:
        run: The run.
        size: Rows per batch, at most the pool.
    """

    def __init__(self, run: Run, size: int) -> None:
        assert run.pool is not None
        self._run, self._pool, self._size = run, run.pool, min(size, len(run.pool))
        self._positions = self._shuffled_positions()

    def gradient(self, loss: ExampleLosses) -> Tensor:
        """Gradient of the mean of `loss` on the next batch, shape (P,); the pool is reshuffled after each pass."""
        return self.gradient_at([next(self._positions) for _ in range(self._size)], loss)

    def gradient_at(self, positions: Sequence[int], loss: ExampleLosses) -> Tensor:
        """Gradient of the mean of `loss` on some rows of the pool, shape (P,). Dropout is off; `.grad` is kept."""
        batch = self._run.batch(self._pool.select(positions))
        parameters = list(self._run.layout.parameters(self._run.model).values())
        with without_dropout(self._run.model), torch.enable_grad():
            gradients = torch.autograd.grad(
                loss(self._run.model, batch).mean(), parameters, allow_unused=True, materialize_grads=True
            )
        return torch.cat([piece.float().flatten() for piece in gradients])

    def drawn(self, step: int, among: Sequence[int] | None = None) -> list[int]:
        """Positions of a random batch of a step, without replacement, as `DualSelectTrainer` replays references.

        Args:
            step: Number of finished optimizer steps.
            among: Positions to draw from; None for the whole pool.
        """
        generator = torch.Generator().manual_seed(self._run.seed * STEP_SEEDS + step)
        members = range(len(self._pool)) if among is None else among
        return [members[index] for index in draw(len(members), self._size, generator=generator)]

    def _shuffled_positions(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._run.seed)
        while True:
            yield from torch.randperm(len(self._pool), generator=generator).tolist()


def save_method_state(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any] | None = None) -> None:
    """Write the state of a method into a run directory, atomically."""
    content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, {"facts": json.dumps(facts)})
    write_atomically(folder / STATE_FILE, lambda file: file.write(content))


def load_method_state(run: str) -> tuple[dict[str, Tensor], Any]:
    """The state that an earlier run left, and its facts.

    Args:
        run: The run directory.

    Raises:
        ResumeError: There is none, or it is broken.
    """
    path = Path(run) / STATE_FILE
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no mapping
            return tensors, json.loads(file.metadata()["facts"])
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ResumeError(f"{path} is missing or broken ({error}): repeat that run, which writes it") from error
