"""The reference pool: one pass scores all references, a second sums up the direction of the selected ones.

Memory does not grow with the pool: the first pass keeps a few numbers per reference, the second recomputes the
gradients of the selected ones only. Cost of a refresh: N + K per-example forward-backward passes.

Shapes: N references in the pool, K selected, B in a batch, P trainable parameters.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from dualselect.errors import ConfigError, DataError
from dualselect.gradients import GradientLayout, PerExampleGradients, check_non_finite, cosines
from dualselect.gradients.losses import response_cross_entropy, response_kl
from dualselect.selection import Choice, choose_highest, reference_scores
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig
from dualselect.training.refresh import Directions, PoolScores, Refresh, cosine_or_none


logger = logging.getLogger(__name__)

CALIBRATION_REFERENCES = 32
"""The most references used to calibrate the conflict threshold; enough for a mean cosine within about 0.02."""

Gradients = Callable[[nn.Module, Mapping[str, Any]], PerExampleGradients]
"""Maps a model and a batch to the per-example gradients of the response cross-entropy."""

ChooseReferences = Callable[[Tensor, int], Choice]
"""Maps the scores of all references, shape (N,), and the number K to keep to a choice of K references."""


class ReferencePool:
    """The tokenized safe responses, and how to score them.

    Args:
        rows: Tokenized references, `input_ids` and `labels`.
        ids: Their N row ids, for messages.
        contrast_rows: For each reference, the tokenized response whose gradient is subtracted for scoring; or None.
        collate: Makes a padded batch of a list of rows.
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
        # batches of similar length need little padding; the longest come first, so that an out-of-memory
        # error shows in the first seconds
        self._by_length = sorted(range(len(rows)), key=lambda position: (-lengths[position], position))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def selected_count(self) -> int:
        """K, the number of references kept at a refresh; at most the size of the pool."""
        wanted = self._config.reference_top_k or math.ceil(self._config.reference_fraction * len(self) - 1e-9)
        return min(wanted, len(self))

    def start_losses(self, model: nn.Module) -> Tensor:
        """Response cross-entropy of every reference under the current model, shape (N,); forward passes only."""
        losses = torch.zeros(len(self), dtype=torch.float64)
        with without_dropout(model), torch.no_grad():
            for positions in self._batches(self._by_length, "Reference losses at the start"):
                losses[positions] = response_cross_entropy(model, self._batch(positions)).cpu().double()
        self._check_finite(losses, "the references' loss at the start of training")
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
            model: The current model.
            task_direction: Shape (P,).
            start_losses: Shape (N,), for `preservation_loss` excess.
            start_model: Makes the context in which `model` is the start model, for `preservation_loss` kl.
            before: The previous choice, whose direction is recomputed in the same pass; None at the first refresh.

        Raises:
            GradientError: More than `max_nonfinite_fraction` of the references have a non-finite loss or gradient;
                the message names rows.
        """
        stats = torch.zeros(3, len(self), dtype=torch.float64)
        direction_of_before = None if before is None else self._layout.zeros()
        with without_dropout(model):
            for positions in self._batches(self._by_length, "Scoring references"):
                batch = self._batch(positions)
                safe = self._gradients(model, batch)
                if before is not None and direction_of_before is not None:
                    _add_weighted(direction_of_before, before.weights[positions], safe.gradients)
                cosine = cosines(self._minus_contrast(safe.gradients, model, positions), task_direction)
                kl = (
                    response_kl(model, start_model, batch)
                    if self._config.preservation_loss == "kl"
                    else torch.zeros_like(safe.losses)
                )
                stats[:, positions] = torch.stack([safe.losses, cosine, kl]).cpu().double()
        losses, cosine, kl = stats
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
        scores = scores.masked_fill(~torch.isfinite(losses + cosine + kl + scores), math.nan)
        self._check_finite(scores, "the references' loss or gradient")
        return PoolScores(losses, preservation, cosine, scores, direction_of_before)

    def choose(self, scores: Tensor) -> Choice:
        """Choose the K references to keep, by default the highest-scored, and their weights.

        Args:
            scores: Shape (N,); a reference with a non-finite score is never chosen.
        """
        finite = torch.isfinite(scores).nonzero().flatten()
        choice = self._choose(scores[finite], min(self.selected_count, len(finite)))
        weights = torch.zeros(len(scores), dtype=torch.float64)
        weights[finite] = choice.weights
        return Choice(finite[choice.kept].tolist(), weights)

    def directions(self, model: nn.Module, choice: Choice) -> Directions:
        """Second pass: the weighted mean gradient of the chosen references, one batch at a time."""
        correction, kept = self._layout.zeros(), set(choice.kept)
        score = correction if self.contrast_rows is None else self._layout.zeros()
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "Reference direction"):
                weights = choice.weights[positions].float().to(self._layout.device)
                safe = self._gradients(model, self._batch(positions)).gradients
                correction += weights @ safe
                if score is not correction:
                    score += weights @ self._minus_contrast(safe, model, positions)
        return Directions(correction, score)

    def agreement(self, model: nn.Module, refresh: Refresh) -> float | None:
        """Cosine between the direction of a refresh and the same references' direction under the current model.

        Returns:
            In [-1, 1]; None if the norm of either is below `NORM_FLOOR`.
        """
        now, kept = self._layout.zeros(), set(refresh.choice.kept)
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "References at the end"):
                gradients = self._gradients(model, self._batch(positions)).gradients
                _add_weighted(now, refresh.choice.weights[positions], gradients)
        return cosine_or_none(now, refresh.directions.correction)

    def conflict_threshold(self, model: nn.Module, choice: Choice, directions: Directions) -> float:
        """Cosine with the score direction below which an example is in conflict, calibrated on the pool.

        Halfway between the mean cosine of safe responses and the mean cosine of their contrasts (unsafe
        answers to the same prompts). References that are part of the direction have inflated cosines, so the others
        are used if there are any.

        Args:
            model: The current model.
            choice: The selected references.
            directions: Their directions.

        Returns:
            A cosine, in [-1, 1].
        """
        kept = set(choice.kept)
        others = [position for position in self._by_length if position not in kept] or self._by_length
        safe_and_unsafe: list[list[Tensor]] = [[], []]
        sample = spread(others, CALIBRATION_REFERENCES)
        with without_dropout(model):
            for positions in self._batches(sample, "Calibrating the conflict"):
                for rows, collected in zip((self.rows, self.contrast_rows), safe_and_unsafe, strict=True):
                    gradients = self._gradients(model, self._batch(positions, rows)).gradients
                    collected.append(cosines(gradients, directions.score).cpu().double())
        return sum(float(torch.cat(collected).nanmean()) for collected in safe_and_unsafe) / 2

    def draw(self, choice: Choice, count: int, *, seed: int) -> Choice:
        """A random subset of a choice, drawn without replacement; its weights are renormalized."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(len(choice.kept), generator=generator)[:count]
        kept = sorted(choice.kept[position] for position in drawn.tolist())
        weights = torch.zeros_like(choice.weights)
        weights[kept] = choice.weights[kept] / choice.weights[kept].sum()
        return Choice(kept, weights)

    def _check_finite(self, values: Tensor, what: str) -> None:
        check_non_finite(values, self.ids, what, at_most=self._config.max_nonfinite_fraction)

    def _highest(self, scores: Tensor, count: int) -> Choice:
        soft = self._config.selection_mode == "soft"
        return choose_highest(scores, count, temperature=self._config.reference_temperature if soft else None)

    def _minus_contrast(self, gradients: Tensor, model: nn.Module, positions: list[int]) -> Tensor:
        if self.contrast_rows is None:
            return gradients
        return gradients - self._gradients(model, self._batch(positions, self.contrast_rows)).gradients

    def _batch(self, positions: list[int], rows: Dataset | None = None) -> dict[str, Any]:
        # by index and not by `select`: the data sets that `select` makes outlive their batch and add up
        found = (self.rows if rows is None else rows)[positions]
        columns = ("input_ids", "labels")
        picked = [dict(zip(columns, row, strict=True)) for row in zip(*(found[name] for name in columns), strict=True)]
        batch = self._collate(picked)
        return {name: value.to(self._layout.device) for name, value in batch.items()}

    def _batches(self, positions: Sequence[int], what: str) -> Iterator[list[int]]:
        size, quiet = self._config.reference_micro_batch_size, self._config.disable_tqdm
        return in_batches(positions, size, description=what, unit="ref", quiet=quiet)


def _add_weighted(direction: Tensor, weights: Tensor, gradients: Tensor) -> None:
    """Add the weighted gradients to a direction, skipping non-finite ones: 0 times NaN is NaN."""
    used = [place for place in weights.nonzero().flatten().tolist() if torch.isfinite(gradients[place]).all()]
    if used:
        direction += weights[used].float().to(direction.device) @ gradients[used]


def spread(ordered: Sequence[int], count: int) -> list[int]:
    """At most `count` of the given positions, evenly spaced in their order."""
    taken = min(count, len(ordered))
    return [ordered[place * len(ordered) // taken] for place in range(taken)]


def start_model_of(model: nn.Module) -> Callable[[], AbstractContextManager[Any]]:
    """Makes the context in which a model is as it was before training: its adapter is disabled.

    Raises:
        ConfigError: When the context is made, for a model without an adapter.
    """

    def adapter_off() -> AbstractContextManager[Any]:
        if not isinstance(model, PeftModel):
            raise ConfigError(
                "preservation_loss: kl compares with the model without its adapter, but this model has none. Pass a "
                "peft_config, or use preservation_loss: excess."
            )
        return model.disable_adapter()

    return adapter_off


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Turn dropout off but keep gradient checkpointing, which a layer does in train mode only."""
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = isinstance(module, GradientCheckpointingLayer) and training[module]
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def check_pool(rows: Dataset, contrast: Dataset | None, wanted: int | None) -> None:
    """Refuse a pool that cannot be used, and warn if it is smaller than the number of references to keep.

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
        logger.warning("reference_top_k is %d but the pool has only %d rows: all are kept", wanted, len(rows))
