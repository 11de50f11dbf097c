"""GEM: to first order, the update raises the loss of no past task."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dualselect.methods.memory import Memory
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.models.losses import response_cross_entropy


SWEEPS, TOLERANCE = 10_000, 1e-12


@dataclass(frozen=True)
class Gem(Method):
    """Project the gradient so that it opposes the memory gradient of no past task (Lopez-Paz & Ranzato, NeurIPS 2017).

        min 1/2 |g' - g|^2  subject to  <g', m_k> >= 0 for each past task k
        dual: min over v >= margin of  1/2 v^T M M^T v + g^T M^T v;   g' = M^T v + g

    The rows of M are the gradients of a memory batch of each task (`kind` of a pool row). A gradient that opposes none
    of them is not changed. As published, the margin is a lower bound of v, which favors the memory. Cost: one memory
    batch per past task and step.

    Attributes:
        memory_size: Memory rows per task and step.
        margin: Lower bound of v, 0 or more; the authors use 0.5.
    """

    paper: ClassVar[str] = "GEM, Lopez-Paz & Ranzato, NeurIPS 2017"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "gem"
    memory_size: int = 8
    margin: float = 0.5

    def __post_init__(self) -> None:
        check_count(self, "memory_size")
        check_range(self, "margin", low=0)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _GemUpdate(run, self)


class _GemUpdate(Update):
    def __init__(self, run: Run, method: Gem) -> None:
        super().__init__(run)
        self._memory, self._margin = Memory(run, method.memory_size), method.margin
        tasks = list(dict.fromkeys(run.pool_tasks))
        self._members = [[place for place, task in enumerate(run.pool_tasks) if task == one] for one in tasks]

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        past = [
            self._memory.gradient_at(self._memory.drawn(step, members), response_cross_entropy)
            for members in self._members
        ]
        return projected(gradient, torch.stack(past), self._margin)


def projected(gradient: Tensor, past: Tensor, margin: float) -> Tensor:
    """Project a gradient onto the vectors whose product with each past gradient is at least 0.

    If each product is at least 0 already, the gradient is returned unchanged.

    Args:
        gradient: Shape (P,).
        past: Gradients of K past tasks, shape (K, P).
        margin: Lower bound of the dual variables.
    """
    products = (past @ gradient).double()
    if bool((products >= 0).all()):
        return gradient
    dual = solved_dual((past @ past.T).double(), products, margin)
    return gradient + dual.to(past) @ past


def solved_dual(gram: Tensor, products: Tensor, margin: float) -> Tensor:
    """Min over v >= margin of 1/2 v^T G v + p^T v, by projected coordinate descent.

    Args:
        gram: G, positive semidefinite, shape (K, K), float64.
        products: p, shape (K,), float64.
        margin: Lower bound of each v.

    Returns:
        v, shape (K,), float64.
    """
    dual = torch.full_like(products, margin)
    for _ in range(SWEEPS):
        change = 0.0
        for place in range(len(dual)):
            if gram[place, place] <= 0:
                continue
            slope = gram[place] @ dual + products[place]
            better = max(margin, float(dual[place] - slope / gram[place, place]))
            change = max(change, abs(better - float(dual[place])))
            dual[place] = better
        if change <= TOLERANCE * (1.0 + float(dual.abs().max())):
            break
    return dual
