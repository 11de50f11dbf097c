"""DER and DER++: the model keeps the logits that it had on the memory when the memory was written."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ConfigError
from dualselect.methods.memory import Memory, load_method_state, save_method_state
from dualselect.methods.method import Method, Need, Run, Update, check_count, check_range
from dualselect.models.losses import mean_per_example, response_cross_entropy, response_logits
from dualselect.training.references import without_dropout


Logits = dict[str, tuple[Tensor, Tensor]]
"""The largest logits of each row and their tokens, (S_i, top_k) each, by row id."""


@dataclass(frozen=True)
class Der(Method):
    """Match the logits of memory rows, and learn their labels too in DER++ (Buzzega et al., NeurIPS 2020).

        L = L_task + logit_weight * |z - z_stored|^2 + label_weight * L_memory

    The square is averaged over the response tokens and over the `top_k` largest stored logits of a token: a whole
    vocabulary per token would be hundreds of times larger than the memory itself. Logits are stored when a row enters
    the memory: at the start of the run for rows without stored ones, which is the end of the run that learned them.
    With a pool of safe responses, these are the logits of the start model. DER draws two memory batches in DER++, as
    published.

    Attributes:
        memory_size: Memory rows per step, of each of the two terms.
        logit_weight: alpha, 0 or more.
        label_weight: beta, 0 or more; 0 is DER.
        top_k: Stored logits per token.
        earlier_run: Run directory whose stored logits are continued; empty for none.
    """

    paper: ClassVar[str] = "DER / DER++, Buzzega et al., NeurIPS 2020"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "der"
    memory_size: int = 8
    logit_weight: float = 0.5
    label_weight: float = 0.0
    top_k: int = 32
    earlier_run: str = ""

    def __post_init__(self) -> None:
        for name in ("memory_size", "top_k"):
            check_count(self, name)
        for name in ("logit_weight", "label_weight"):
            check_range(self, name, low=0)

    def update(self, run: Run) -> Update:
        """The hooks of one run."""
        return _DerUpdate(run, self)


class _DerUpdate(Update):
    def __init__(self, run: Run, method: Der) -> None:
        super().__init__(run)
        self._method, self._memory = method, Memory(run, method.memory_size)
        self._labels = Memory(run, method.memory_size)
        self._earlier = self._earlier_logits(method)
        self._batch: list[int] = []

    def gradient(self, gradient: Tensor, step: int, steps: int) -> Tensor:
        if self._method.logit_weight:
            self._batch = self._memory.drawn(2 * step)
            gradient = gradient + self._method.logit_weight * self._memory.gradient_at(self._batch, self._distances)
        if self._method.label_weight:
            drawn = self._labels.drawn(2 * step + 1)
            replayed = self._labels.gradient_at(drawn, response_cross_entropy)
            gradient = gradient + self._method.label_weight * replayed
        return gradient

    def finish(self) -> None:
        """Write the stored logits, for the next run."""
        ids = list(self.stored)
        values, indices = ([self.stored[name][part] for name in ids] for part in (0, 1))
        save_method_state(
            self.run.folder,
            {"values": torch.cat(values), "indices": torch.cat(indices)},
            {"ids": ids, "tokens": [len(one) for one in values]},
        )

    def _distances(self, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Mean squared difference to the stored logits of the batch, shape (B,)."""
        ids = [self.run.pool_ids[position] for position in self._batch]
        values, indices = (torch.cat([self.stored[name][part] for name in ids]) for part in (0, 1))
        logits = response_logits(model, inputs)
        now = logits.gather(1, indices.to(logits.device).long())
        return mean_per_example((now - values.to(logits.device)).square().mean(1), inputs)

    @functools.cached_property
    def stored(self) -> Logits:
        """The stored logits of the pool; those of rows without any are computed at the first step."""
        return {
            name: self._earlier.get(name) or self._logits_now(position, self._method.top_k)
            for position, name in enumerate(self.run.pool_ids)
        }

    def _earlier_logits(self, method: Der) -> Logits:
        """The stored logits of an earlier run for the rows of the pool."""
        if not method.earlier_run:
            return {}
        tensors, facts = load_method_state(method.earlier_run)
        split = zip(tensors["values"].split(facts["tokens"]), tensors["indices"].split(facts["tokens"]), strict=True)
        found = dict(zip(facts["ids"], split, strict=True))
        assert self.run.pool is not None
        for position, name in enumerate(self.run.pool_ids):
            tokens = sum(label != IGNORED_LABEL for label in self.run.pool[position]["labels"][1:])
            if name in found and found[name][0].shape != (tokens, method.top_k):
                raise ConfigError(
                    f"{method.name}: the stored logits of memory row {name} are {tuple(found[name][0].shape)}, but it "
                    f"has {tokens} response tokens and top_k is {method.top_k}: keep top_k and max_length as they were"
                )
        return found

    def _logits_now(self, position: int, top_k: int) -> tuple[Tensor, Tensor]:
        assert self.run.pool is not None
        batch = self.run.batch(self.run.pool.select([position]))
        with torch.no_grad(), without_dropout(self.run.model):
            largest = response_logits(self.run.model, batch).topk(top_k, dim=1)
        return largest.values.cpu(), largest.indices.int().cpu()
