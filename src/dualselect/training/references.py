"""The reference pool at work: scored in a first pass, its direction accumulated in a second.

Memory does not grow with the pool: the first pass keeps a few numbers of each reference, the second recomputes the
gradients of the selected ones only. Cost: (N + K) / N forward-backwards of the pool.

Shapes: N references in the pool, K selected, B in a batch, P trainable parameters.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from dualselect.errors import ConfigError, DataError
from dualselect.gradients import GradientLayout, PerExampleGradients, cosines, refuse_non_finite
from dualselect.gradients.layout import NORM_FLOOR
from dualselect.gradients.losses import response_cross_entropy, response_kl
from dualselect.selection import Choice, choose_highest, reference_scores
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)

CALIBRATION_REFERENCES = 32
"""References that the conflict threshold is read off, at most; their mean cosine is then known to about 0.02."""

Gradients = Callable[[nn.Module, Mapping[str, Any]], PerExampleGradients]
"""From a model and a batch to the per-example gradients of the response cross-entropy."""

ChooseReferences = Callable[[Tensor, int], Choice]
"""From the scores of all references, shape (N,), and the number K to keep, to the choice of K of them."""


@dataclass(frozen=True)
class Directions:
    """What the selected references say, each of shape (P,).

    Attributes:
        correction: Weighted mean gradient of the safe responses; it corrects the update.
        score: The same with the contrast subtracted, if there is one; it scores the task examples.
    """

    correction: Tensor
    score: Tensor


@dataclass(frozen=True)
class Refresh:
    """One choice of references.

    Attributes:
        step: Optimizer steps done when it was made.
        epoch: Epochs begun when it was made.
        choice: Positions in the pool and weights of the selected references.
        task_direction: What they were chosen against, shape (P,).
        directions: Their directions at that moment.
        conflict_threshold: Cosine to the score direction under which a task example conflicts with the references;
            None unless the token budget is `auto`.
    """

    step: int
    epoch: int
    choice: Choice
    task_direction: Tensor
    directions: Directions
    conflict_threshold: float | None = None

    def facts(self, scores: "PoolScores", before: "Refresh | None") -> dict[str, Any]:
        """What the selection log says of it.

        Args:
            scores: What the choice was made from.
            before: The refresh before, for how far directions have turned since; None for the first.
        """
        kept = set(self.choice.kept)
        turned: dict[str, float | None] = {}
        if before is not None and scores.direction_of_before is not None:
            old = before.directions.correction
            turned = {
                "task_direction_cosine": _cosine(self.task_direction, before.task_direction),
                "reference_direction_cosine": _cosine(self.directions.correction, old),
                "same_references_cosine": _cosine(scores.direction_of_before, old),
            }
        return {
            "losses": scores.losses.tolist(),
            "preservation_losses": scores.preservation_losses.tolist(),
            "cosines": scores.cosines.tolist(),
            "scores": scores.scores.tolist(),
            "kept": [position in kept for position in range(len(scores.scores))],
            "weights": self.choice.weights.tolist(),
            "task_direction_norm": self.task_direction.norm().item(),
            "reference_direction_norm": self.directions.correction.norm().item(),
            "conflict_threshold": self.conflict_threshold,
            **turned,
        }


@dataclass(frozen=True)
class PoolScores:
    """What the first pass found.

    Attributes:
        losses: Response cross-entropy of each reference, shape (N,), float64 on the CPU, in pool order, as all but the
            last.
        preservation_losses: How badly each is preserved.
        cosines: Of each to the task direction.
        scores: Of each.
        direction_of_before: Weighted mean gradient, at the weights of now, of the references chosen before, shape
            (P,); None where none were.
    """

    losses: Tensor
    preservation_losses: Tensor
    cosines: Tensor
    scores: Tensor
    direction_of_before: Tensor | None = None


class ReferencePool:
    """The tokenized safe responses, and how to score them.

    Args:
        rows: Tokenized references, `input_ids` and `labels`.
        ids: Their N row ids, for messages.
        contrast_rows: For each reference the tokenized response whose gradient is subtracted for scoring, or None.
        collate: From a list of rows to a padded batch.
        gradients: The gradient engine.
        layout: The layout of the trainable parameters.
        config: Settings.
        choose: Chooses references by their scores; None for the K highest.
    """

    def __init__(
        self,
        rows: Dataset,
        ids: Sequence[str],
        contrast_rows: Dataset | None,
        collate: Callable[[list[Any]], Mapping[str, Any]],
        gradients: Gradients,
        layout: GradientLayout,
        config: DualSelectConfig,
        choose: ChooseReferences | None = None,
    ) -> None:
        self._choose = choose or self._highest
        self.rows, self.ids, self.contrast_rows = rows, ids, contrast_rows
        self._collate, self._gradients, self._layout, self._config = collate, gradients, layout, config
        lengths = [len(row) for row in rows["input_ids"]]
        # neighbours of like length need little padding; scores do not depend on the order
        self._by_length = sorted(range(len(rows)), key=lambda position: (lengths[position], position))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def selected_count(self) -> int:
        """K, the references kept at a refresh; all of a pool that is smaller."""
        wanted = self._config.reference_top_k or math.ceil(self._config.reference_fraction * len(self) - 1e-9)
        return min(wanted, len(self))

    def start_losses(self, model: nn.Module) -> Tensor:
        """Response cross-entropy of every reference under the model as it is, shape (N,), by forward passes only."""
        losses = torch.zeros(len(self), dtype=torch.float64)
        with without_dropout(model), torch.no_grad():
            for positions in self._batches(self._by_length, "Reference losses at the start"):
                losses[positions] = response_cross_entropy(model, self._batch(positions)).cpu().double()
        refuse_non_finite(losses, self.ids, "the references' loss at the start of training")
        return losses

    def score(
        self,
        model: nn.Module,
        task_direction: Tensor,
        *,
        start_losses: Tensor | None,
        start_model: Callable[[], AbstractContextManager[Any]],
        before: Choice | None = None,
    ) -> PoolScores:
        """First pass: score every reference against the task direction.

        Args:
            model: The model as it is now.
            task_direction: Shape (P,).
            start_losses: Shape (N,), for `preservation_loss` excess.
            start_model: Context under which `model` is the start model, for `preservation_loss` kl.
            before: The choice until now, whose direction is made anew on the way; None for none.

        Raises:
            GradientError: A loss or gradient is not finite; the message names the row.
        """
        found = torch.zeros(3, len(self), dtype=torch.float64)
        direction_of_before = None if before is None else self._layout.zeros()
        with without_dropout(model):
            for positions in self._batches(self._by_length, "Scoring references"):
                batch = self._batch(positions)
                safe = self._gradients(model, batch)
                if before is not None and direction_of_before is not None:
                    direction_of_before += before.weights[positions].float().to(self._layout.device) @ safe.gradients
                scored = safe.gradients - self._contrast(model, positions)
                cosine = cosines(scored, task_direction)
                kl = (
                    response_kl(model, start_model, batch)
                    if self._config.preservation_loss == "kl"
                    else torch.zeros_like(safe.losses)
                )
                found[:, positions] = torch.stack([safe.losses, cosine, kl]).cpu().double()
        losses, cosine, kl = found
        refuse_non_finite(losses + cosine + kl, self.ids, "the references' loss or gradient")
        preservation = {"ce": losses, "kl": kl}.get(self._config.preservation_loss)
        if preservation is None:
            assert start_losses is not None
            preservation = losses - start_losses
        scores = reference_scores(
            preservation,
            cosine,
            loss_weight=self._config.reference_loss_weight,
            conflict_weight=self._config.conflict_weight,
        )
        return PoolScores(losses, preservation, cosine, scores, direction_of_before)

    def choose(self, scores: Tensor) -> Choice:
        """The K references kept, by default the highest-scored, and their weights."""
        return self._choose(scores, self.selected_count)

    def directions(self, model: nn.Module, choice: Choice) -> Directions:
        """Second pass: the weighted mean gradient of the chosen references, one batch of gradients in memory."""
        correction, score = self._layout.zeros(), self._layout.zeros()
        kept = set(choice.kept)
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "Reference direction"):
                weights = choice.weights[positions].float().to(self._layout.device)
                safe = self._gradients(model, self._batch(positions)).gradients
                correction += weights @ safe
                score += weights @ (safe - self._contrast(model, positions))
        return Directions(correction, score)

    def agreement(self, model: nn.Module, refresh: Refresh) -> float | None:
        """Cosine of the direction of a refresh to that of the same references at the weights of now; None for none."""
        now, kept = self._layout.zeros(), set(refresh.choice.kept)
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "References at the end"):
                weights = refresh.choice.weights[positions].float().to(self._layout.device)
                now += weights @ self._gradients(model, self._batch(positions)).gradients
        return _cosine(now, refresh.directions.correction)

    def conflict_threshold(self, model: nn.Module, choice: Choice, directions: Directions) -> float:
        """Where compatible ends and conflict begins, read off the pool itself.

        Halfway between the mean cosine of safe responses and the mean cosine of their contrasts, the same prompts
        answered unsafely, to the score direction. References that did not make the direction are used, as long as
        there are any: of those that did, the cosine is too high.

        Args:
            model: The model as it is now.
            choice: The selected references.
            directions: Their directions.

        Returns:
            A cosine, in [-1, 1].
        """
        kept = set(choice.kept)
        others = [position for position in self._by_length if position not in kept] or self._by_length
        found = torch.zeros(2, dtype=torch.float64)
        sample = spread(others, CALIBRATION_REFERENCES)
        with without_dropout(model):
            for positions in self._batches(sample, "Calibrating the conflict"):
                for place, rows in enumerate((self.rows, self.contrast_rows)):
                    gradients = self._gradients(model, self._batch(positions, rows)).gradients
                    found[place] += cosines(gradients, directions.score).cpu().double().sum()
        return float(found.sum()) / (2 * len(sample))

    def draw(self, choice: Choice, count: int, *, seed: int) -> Choice:
        """A random part of a choice, without replacement, its weights renormalized."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(choice.kept), generator=generator)[:count]
        kept = sorted(choice.kept[position] for position in drawn.tolist())
        weights = torch.zeros_like(choice.weights)
        weights[kept] = choice.weights[kept] / choice.weights[kept].sum()
        return Choice(kept, weights)

    def _highest(self, scores: Tensor, count: int) -> Choice:
        soft = self._config.selection_mode == "soft"
        return choose_highest(scores, count, temperature=self._config.reference_temperature if soft else None)

    def _contrast(self, model: nn.Module, positions: list[int]) -> Tensor | float:
        if self.contrast_rows is None:
            return 0.0
        return self._gradients(model, self._batch(positions, self.contrast_rows)).gradients

    def _batch(self, positions: list[int], rows: Dataset | None = None) -> dict[str, Any]:
        # by index and not by `select`: the data sets that it makes outlive their batch and add up over a pool
        found = (self.rows if rows is None else rows)[positions]
        columns = ("input_ids", "labels")
        picked = [dict(zip(columns, row, strict=True)) for row in zip(*(found[name] for name in columns), strict=True)]
        batch = self._collate(picked)
        return {name: value.to(self._layout.device) for name, value in batch.items()}

    def _batches(self, positions: Sequence[int], what: str) -> Iterator[list[int]]:
        size, quiet = self._config.reference_micro_batch_size, self._config.disable_tqdm
        return in_batches(positions, size, description=what, unit="ref", quiet=quiet)


def spread(ordered: Sequence[int], count: int) -> list[int]:
    """At most `count` of some positions, evenly spaced over their order."""
    taken = min(count, len(ordered))
    return [ordered[place * len(ordered) // taken] for place in range(taken)]


def _cosine(one: Tensor, other: Tensor) -> float | None:
    """Cosine of two directions; None where one is too short to have any, or not finite."""
    if not NORM_FLOOR <= min(one.norm().item(), other.norm().item()) < math.inf:
        return None
    return cosines(one[None], other).item()


def start_model_of(model: nn.Module) -> Callable[[], AbstractContextManager[Any]]:
    """Makes the context under which a model is what it was before training: its adapter off.

    Raises:
        ConfigError: When the context is made, for a model without an adapter.
    """

    def adapter_off() -> AbstractContextManager[Any]:
        if not isinstance(model, PeftModel):
            raise ConfigError(
                "preservation_loss: kl compares with the model without its adapter, and this model has none. Pass a "
                "peft_config, or use preservation_loss: excess."
            )
        return model.disable_adapter()

    return adapter_off


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Turn dropout off, and leave on what training needs beside it: a checkpointed layer only is one in train mode."""
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = isinstance(module, GradientCheckpointingLayer) and training[module]
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def check_pool(rows: Dataset, contrast: Dataset | None, wanted: int | None) -> None:
    """Refuse a pool that cannot be used, and say when it is smaller than the number of references to keep.

    Raises:
        DataError: The pool is empty, or a reference has no contrast.
    """
    if not len(rows):
        raise DataError("the reference pool is empty: pass a reference_dataset with at least one safe response")
    if contrast is not None and len(contrast) != len(rows):
        raise DataError(
            f"{len(rows) - len(contrast)} of {len(rows)} references have no usable contrast response: raise max_length"
            " or set reference_contrast: none"
        )
    if wanted and wanted > len(rows):
        logger.warning("reference_top_k is %d, the pool has %d rows: all of them are kept", wanted, len(rows))
