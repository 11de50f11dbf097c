"""EWC: weights that earlier tasks depend on stay close to where they were."""

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch
from datasets import Dataset
from torch import Tensor

from dualselect.methods.memory import load_method_state, save_method_state
from dualselect.methods.method import Method, Run, Update, check_count, check_range, weights_of
from dualselect.models.losses import response_cross_entropy
from dualselect.training.references import without_dropout


@dataclass(frozen=True)
class Ewc(Method):
    """A quadratic penalty weighted by the Fisher information (Kirkpatrick et al., PNAS 2017), in its online form.

        L = L_task + strength / 2 * sum_i F_i (w_i - w*_i)^2
        after a run: F <- decay * F + F_run, w* <- w    (online EWC, Schwarz et al., ICML 2018)

    F is the diagonal of the empirical Fisher information: the mean of the squared gradients of single rows. A run
    without an earlier one takes F from the reference pool at its start; without a pool it is plain fine-tuning. In a
    new LoRA adapter, matrices B are 0, so the gradients of A are 0: F then protects only B.

    Attributes:
        strength: lambda, 0 or more.
        decay: gamma, in [0, 1].
        fisher_rows: Rows that F is estimated on, at most.
        earlier_run: Run directory whose F and w* are continued; empty for none.
    """

    paper: ClassVar[str] = "EWC, Kirkpatrick et al., PNAS 2017; online EWC, Schwarz et al., ICML 2018"
    name: str = "ewc"
    strength: float = 1.0
    decay: float = 1.0
    fisher_rows: int = 64
    earlier_run: str = ""

    def __post_init__(self) -> None:
        check_range(self, "strength", low=0)
        check_range(self, "decay", low=0, high=1)
        check_count(self, "fisher_rows")

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _EwcUpdate(run, self)


class _EwcUpdate(Update):
    def __init__(self, run: Run, method: Ewc) -> None:
        super().__init__(run)
        self._method, self._anchor = method, weights_of(run)
        self._earlier: Tensor | None = None
        if method.earlier_run:
            state, _ = load_method_state(method.earlier_run)
            self._earlier, self._anchor = (state[name].to(run.layout.device) for name in ("fisher", "weights"))

    @functools.cached_property
    def fisher(self) -> Tensor | None:
        """F of what was learned before; estimated at the first step if it is that of the pool."""
        if self._earlier is not None or self.run.pool is None:
            return self._earlier
        return fisher_information(self.run, self.run.pool, self._method.fisher_rows)

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if not self._method.strength or self.fisher is None:
            return gradient
        return gradient + self._method.strength * self.fisher * (weights_of(self.run) - self._anchor)

    def finish(self) -> None:
        """Add the Fisher information of this run's task and write both, for the next run."""
        found = fisher_information(self.run, self.run.task, self._method.fisher_rows)
        if self.fisher is not None:
            found = self._method.decay * self.fisher + found
        save_method_state(self.run.folder, {"fisher": found, "weights": weights_of(self.run)})


def fisher_information(run: Run, rows: Dataset, most: int) -> Tensor:
    """Mean squared gradient of single rows under the current weights, shape (P,).

    Args:
        run: The run.
        rows: Tokenized rows.
        most: Number of rows, drawn by the seed of the run.
    """
    generator = torch.Generator().manual_seed(run.seed)
    drawn = torch.randperm(len(rows), generator=generator)[:most].tolist()
    parameters = list(run.layout.parameters(run.model).values())
    total = run.layout.zeros()
    for position in drawn:
        with without_dropout(run.model), torch.enable_grad():
            loss = response_cross_entropy(run.model, run.batch(rows.select([position]))).sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        total += torch.cat([piece.float().flatten() for piece in gradients]).square()
    return total / len(drawn)
