"""The reference pool: one pass scores all references, a second pass sums the gradients of the selected ones.

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

from dualselect.data.token_columns import TokenRow, lengths_of, token_rows
from dualselect.errors import ConfigError, DataError
from dualselect.gradients import GradientLayout, Score, Sum
from dualselect.models.losses import response_cross_entropy, response_kl
from dualselect.selection import Choice, choose_highest, reference_scores
from dualselect.system.processes import process_count, process_index, total_of
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig
from dualselect.training.nonfinite import check_non_finite
from dualselect.training.refresh import Directions, PoolScores, Refresh, cosine_or_none
from dualselect.training.step import RunGradients


logger = logging.getLogger(__name__)

CALIBRATION_REFERENCES = 32
"""Largest number of references used to calibrate the conflict threshold. The mean cosine is then within about 0.02."""

ChooseReferences = Callable[[Tensor, int], Choice]
"""Maps the scores of all references, shape (N,), and the number K to keep to a choice of K references."""


class ReferencePool:
    """The tokenized safe responses, and how to score them.

    Args:
        rows: Tokenized references, `input_ids` and `labels`.
        ids: The N row ids, for messages.
        contrast_rows: For each reference, the tokenized response whose gradient is subtracted for scoring; or None.
        collate: Makes a padded batch of a list of rows.
        run: The gradient engine.
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
        run: RunGradients,
        layout: GradientLayout,
        config: DualSelectConfig,
        choose: ChooseReferences | None = None,
    ) -> None:
        self._choose = choose or self._highest
        self.rows, self.ids, self.contrast_rows = rows, ids, contrast_rows
        self._collate, self._run, self._layout, self._config = collate, run, layout, config
        lengths = lengths_of(rows)
        if contrast_rows is not None and len(contrast_rows) == len(rows):
            lengths = lengths.clip(min=lengths_of(contrast_rows))
        # batches of similar length need little padding; the longest come first, so that an out-of-memory
        # error happens in the first seconds
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
        losses = total_of(losses)
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
                score = Score(self._layout, len(positions), task_direction, pairs=self.contrast_rows is not None)
                previous = None if before is None else before.weights[positions]
                losses, total = self._score_and_sum(model, positions, score, previous)
                if direction_of_before is not None and total is not None:
                    direction_of_before += total
                kl = (
                    response_kl(model, start_model, self._batch(positions))
                    if self._config.preservation_loss == "kl"
                    else torch.zeros_like(losses)
                )
                stats[:, positions] = torch.stack([losses, score.cosines[0], kl]).cpu().double()
        losses, cosine, kl = total_of(stats)
        if direction_of_before is not None:
            direction_of_before = total_of(direction_of_before)
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
        kept = set(choice.kept)
        total = self._layout.zeros(1 if self.contrast_rows is None else 2)
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "Reference direction"):
                safe = self._safe_weights(choice.weights[positions])
                weights = safe if self.contrast_rows is None else torch.stack([safe, safe - safe.roll(1)])
                self._run(model, self._pairs(positions), response_cross_entropy, [Sum(self._layout, weights, total)])
        total = total_of(total)
        correction = total[0]
        return Directions(correction, correction if self.contrast_rows is None else total[1])

    def agreement(self, model: nn.Module, refresh: Refresh) -> float | None:
        """Cosine between the direction of a refresh and the same references' direction under the current model.

        Returns:
            In [-1, 1]; None if the norm of either is below `NORM_FLOOR`.
        """
        now, kept = self._layout.zeros(1), set(refresh.choice.kept)
        with without_dropout(model):
            for positions in self._batches([p for p in self._by_length if p in kept], "References at the end"):
                sink = Sum(self._layout, refresh.choice.weights[positions], now)
                self._run(model, self._batch(positions), response_cross_entropy, [sink])
        return cosine_or_none(total_of(now)[0], refresh.directions.correction)

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
        sample = spread(others, CALIBRATION_REFERENCES)
        cosines = torch.zeros(len(self), 2, dtype=torch.float64)
        with without_dropout(model):
            for positions in self._batches(sample, "Calibrating the conflict"):
                score = Score(self._layout, 2 * len(positions), directions.score)
                self._run(model, self._pairs(positions), response_cross_entropy, [score])
                cosines[positions] = score.cosines[0].unflatten(0, (-1, 2)).cpu().double()
        safe, unsafe = total_of(cosines)[sample].nanmean(0).tolist()
        return float(safe + unsafe) / 2

    def draw(self, choice: Choice, count: int, *, seed: int) -> Choice:
        """A random subset of a choice, drawn without replacement, with renormalized weights."""
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

    def _score_and_sum(
        self, model: nn.Module, positions: list[int], score: Score, weights: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Score a batch of references and, if weights are given, sum the gradients of their safe responses.

        Returns:
            Losses of the safe responses, shape (B,); the weighted sum, shape (P,), without the references whose
            gradient is not finite.
        """
        batch, total = self._pairs(positions), None
        if weights is None or not weights.any():
            losses = self._run(model, batch, response_cross_entropy, [score])
        else:
            total = Sum(self._layout, self._safe_weights(weights))
            losses = self._run(model, batch, response_cross_entropy, [score, total])
            if not torch.isfinite(total.total).all():
                total = Sum(self._layout, self._safe_weights(weights * torch.isfinite(score.norms).cpu()))
                self._run(model, batch, response_cross_entropy, [total])
        return losses[:: len(losses) // len(positions)], None if total is None else total.total[0]

    def _safe_weights(self, weights: Tensor) -> Tensor:
        """Weights of B references as weights of the rows of `_pairs`; the weights of contrasts are 0."""
        if self.contrast_rows is None:
            return weights
        return torch.stack([weights, torch.zeros_like(weights)], dim=1).flatten()

    def _pairs(self, positions: list[int]) -> dict[str, Any]:
        """A batch of references; with contrasts, each reference is followed by its contrast."""
        if self.contrast_rows is None:
            return self._batch(positions)
        pairs = zip(token_rows(self.rows, positions), token_rows(self.contrast_rows, positions), strict=True)
        return self._collated([row for pair in pairs for row in pair])

    def _batch(self, positions: list[int]) -> dict[str, Any]:
        return self._collated(token_rows(self.rows, positions))

    def _collated(self, rows: list[TokenRow]) -> dict[str, Any]:
        return {name: value.to(self._layout.device) for name, value in self._collate(rows).items()}

    def _batches(self, positions: Sequence[int], what: str) -> Iterator[list[int]]:
        """Batches of this process's share of some positions."""
        positions = positions[process_index() :: process_count()]
        size, quiet = self._config.reference_micro_batch_size, self._config.disable_tqdm
        size = size if self.contrast_rows is None else max(1, size // 2)  # a reference and its contrast are two rows
        return in_batches(positions, size, description=what, unit="ref", quiet=quiet)


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
    """Turn dropout off but keep gradient checkpointing, which layers use only in train mode."""
    training = {module: module.training for module in model.modules()}
    try:
        for module in training:
            module.training = isinstance(module, GradientCheckpointingLayer) and training[module]
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def check_pool(rows: Dataset, contrast: Dataset | None, wanted: int | None) -> None:
    """Reject a pool that cannot be used, and warn if it is smaller than the number of references to keep.

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
