"""The reference pool: one pass scores all references, a second pass sums the gradients of the selected ones.

Memory does not grow with the pool: the first pass keeps a few numbers per reference, the second recomputes the
gradients of the selected ones only. Cost of a refresh: N + K per-example forward-backward passes.

Shapes: N references in the pool, K selected, B in a batch, S sides of the pool, P trainable parameters.
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
from dualselect.errors import ConfigError
from dualselect.gradients import GradientLayout, Score, Sum
from dualselect.models.losses import response_cross_entropy, response_kl
from dualselect.selection import Choice, Probe, choose_highest, conflict_direction, draw, reference_scores
from dualselect.system.processes import process_count, process_index, total_of
from dualselect.system.progress import in_batches
from dualselect.training.config import DualSelectConfig
from dualselect.training.nonfinite import check_non_finite
from dualselect.training.probing import Probing, probed_positions
from dualselect.training.refresh import Directions, PoolScores, Refresh, cosine_or_none
from dualselect.training.step import RunGradients


logger = logging.getLogger(__name__)

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
        sides: The side of each reference, from 0 to S - 1; None if all are on one.
        filters: Whether task examples are scored against the whole pool.
        held_out: Positions of references that this direction of the whole pool leaves out.
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
        sides: Sequence[int] | None = None,
        filters: bool = False,
        held_out: Sequence[int] = (),
    ) -> None:
        self._choose = choose or self._highest
        self.sides = torch.tensor(sides if sides is not None else [0] * len(rows))
        self.rows, self.ids, self.contrast_rows = rows, ids, contrast_rows
        self._filters = filters
        self._filter_weights = 1.0 / torch.bincount(self.sides).double()[self.sides]
        self._filter_weights[list(held_out)] = 0.0
        self._probed = probed_positions(self.sides, held_out)
        self._collate, self.run, self.layout, self._config = collate, run, layout, config
        lengths = lengths_of(rows)
        if contrast_rows is not None and len(contrast_rows) == len(rows):
            lengths = lengths.clip(min=lengths_of(contrast_rows))
        # batches of similar length need little padding; the longest come first, so that an out-of-memory
        # error happens in the first seconds
        self._by_length = sorted(range(len(rows)), key=lambda position: (-lengths[position], position))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def quotas(self) -> list[int]:
        """References kept of each side at a refresh: the same share of each, or an even part of `reference_top_k`."""
        counts = torch.bincount(self.sides).tolist()
        top_k, fraction = self._config.reference_top_k, self._config.reference_fraction
        wanted = [-(-top_k // len(counts)) if top_k else math.ceil(fraction * count - 1e-9) for count in counts]
        return [min(number, count) for number, count in zip(wanted, counts, strict=True)]

    @property
    def selected_count(self) -> int:
        """K, the number of references kept at a refresh; at most the size of the pool."""
        return sum(self.quotas)

    def start_losses(self, model: nn.Module, known: Mapping[str, float] | None = None) -> Tensor:
        """Response cross-entropy of every reference at the start, shape (N,); forward passes only.

        Args:
            model: The current model.
            known: Losses by row id that are taken as they are.
        """
        known, losses = known or {}, torch.zeros(len(self), dtype=torch.float64)
        measured = [position for position in self._by_length if self.ids[position] not in known]
        with without_dropout(model), torch.no_grad():
            for positions in self.batches(measured, "Reference losses at the start"):
                losses[positions] = response_cross_entropy(model, self._batch(positions)).cpu().double()
        losses = total_of(losses)
        for position, name in enumerate(self.ids):
            losses[position] = known.get(name, losses[position])
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
        # the directions of the previous choice, then those of the whole pool for the filter
        previous = 0 if before is None else len(self.quotas)
        sums = self.layout.zeros(previous + (len(self.quotas) if self._filters else 0))
        probing = Probing(model, self._probed) if self._filters and self.contrast_rows is not None else None
        with without_dropout(model):
            for positions in self.batches(self._by_length, "Scoring references"):
                score = Score(self.layout, len(positions), task_direction, pairs=self.contrast_rows is not None)
                losses = self._score_and_sum(
                    model, positions, score, self._sum_weights(positions, before), sums, probing
                )
                kl = (
                    response_kl(model, start_model, self._batch(positions))
                    if self._config.preservation_loss == "kl"
                    else torch.zeros_like(losses)
                )
                stats[:, positions] = torch.stack([losses, score.cosines[0], kl]).cpu().double()
        losses, cosine, kl = total_of(stats)
        sums = total_of(sums) if len(sums) else sums
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
        return PoolScores(
            losses,
            preservation,
            cosine,
            scores,
            direction_of_before=sums[:previous] if previous else None,
            filter_direction=conflict_direction(sums[previous:], task_direction) if self._filters else None,
            probe=None if probing is None else probing.probe(self.sides),
        )

    def choose(self, scores: Tensor) -> Choice:
        """Choose the references to keep of each side, by default the highest-scored, and their weights.

        Args:
            scores: Shape (N,); a reference with a non-finite score is never chosen.

        Returns:
            The choice; the weights of each side sum to 1.
        """
        weights, kept = torch.zeros(len(scores), dtype=torch.float64), []
        for side, quota in enumerate(self.quotas):
            finite = (torch.isfinite(scores) & (self.sides == side)).nonzero().flatten()
            if len(finite):
                choice = self._choose(scores[finite], min(quota, len(finite)))
                weights[finite] = choice.weights
                kept += finite[choice.kept].tolist()
        return Choice(sorted(kept), weights)

    def directions(self, model: nn.Module, choice: Choice, filter_direction: Tensor | None = None) -> Directions:
        """Second pass: the weighted mean gradient of the chosen references of each side, one batch at a time.

        Args:
            model: The current model.
            choice: The chosen references.
            filter_direction: Shape (P,), what task examples are scored against; None to score them against the chosen
                references.
        """
        kept, sides = set(choice.kept), len(self.quotas)
        contrasted = self.contrast_rows is not None and filter_direction is None
        total = self.layout.zeros(2 * sides if contrasted else sides)
        with without_dropout(model):
            for positions in self.batches([p for p in self._by_length if p in kept], "Reference direction"):
                weights = self._by_side(choice.weights, positions, pairs=contrasted)
                if contrasted:
                    weights = torch.cat([weights, weights - weights.roll(1, 1)])
                batch = self._pairs(positions) if contrasted else self._batch(positions)
                self.run(model, batch, response_cross_entropy, [Sum(self.layout, weights, total)])
        total = total_of(total)
        correction = total[:sides]
        if filter_direction is not None:
            return Directions(correction, filter_direction[None])
        return Directions(correction, total[sides:] if contrasted else correction)

    def agreement(self, model: nn.Module, refresh: Refresh) -> float | None:
        """Cosine between the directions of a refresh and the same references' directions under the current model.

        Directions of several sides are compared as one vector.

        Returns:
            In [-1, 1]; None if the norm of either is below `NORM_FLOOR`.
        """
        now, kept = self.layout.zeros(len(self.quotas)), set(refresh.choice.kept)
        with without_dropout(model):
            for positions in self.batches([p for p in self._by_length if p in kept], "References at the end"):
                sink = Sum(self.layout, self._by_side(refresh.choice.weights, positions, pairs=False), now)
                self.run(model, self._batch(positions), response_cross_entropy, [sink])
        return cosine_or_none(total_of(now), refresh.directions.correction)

    def first_probe(self, model: nn.Module) -> Probe | None:
        """The probe of the filter before the first step, by forward passes only; None without contrasts."""
        if self.contrast_rows is None:
            return None
        probing, fitted_on = Probing(model, self._probed), set(self._probed)
        with without_dropout(model), torch.no_grad():
            for positions in self.batches([p for p in self._by_length if p in fitted_on], "Reading the references"):
                probing.during(response_cross_entropy, positions)(model, self._pairs(positions))
        return probing.probe(self.sides)

    def draw(self, choice: Choice, count: int, *, seed: int) -> Choice:
        """A random subset of a choice, `count` of each side, without replacement and with renormalized weights."""
        generator = torch.Generator().manual_seed(seed)
        weights, kept = torch.zeros_like(choice.weights), []
        for side in range(len(self.quotas)):
            members = [position for position in choice.kept if self.sides[position] == side]
            drawn = [members[index] for index in draw(len(members), count, generator=generator)]
            weights[drawn] = choice.weights[drawn] / choice.weights[drawn].sum()
            kept += drawn
        return Choice(sorted(kept), weights)

    def _check_finite(self, values: Tensor, what: str) -> None:
        check_non_finite(values, self.ids, what, at_most=self._config.max_nonfinite_fraction)

    def _highest(self, scores: Tensor, count: int) -> Choice:
        soft = self._config.selection_mode == "soft"
        return choose_highest(scores, count, temperature=self._config.reference_temperature if soft else None)

    def _score_and_sum(
        self,
        model: nn.Module,
        positions: list[int],
        score: Score,
        weights: Tensor,
        sums: Tensor,
        probing: Probing | None,
    ) -> Tensor:
        """Score a batch of references, and add weighted sums of their gradients to `sums`, shape (C, P).

        References whose gradient is not finite are not added.

        Args:
            model: The current model.
            positions: The references, B of them.
            score: Collects their cosines.
            weights: Weights of the rows of `_pairs` in each sum.
            sums: Changed.
            probing: Collects the representations of the responses; None without a probe.

        Returns:
            Losses of the safe responses, shape (B,).
        """
        batch = self._pairs(positions)
        losses_of = response_cross_entropy if probing is None else probing.during(response_cross_entropy, positions)
        if not weights.any():
            losses = self.run(model, batch, losses_of, [score])
        else:
            total = Sum(self.layout, weights)
            losses = self.run(model, batch, losses_of, [score, total])
            if not torch.isfinite(total.total).all():
                finite = torch.isfinite(score.norms).cpu().repeat_interleave(weights.shape[1] // len(positions))
                total = Sum(self.layout, weights * finite)
                self.run(model, batch, response_cross_entropy, [total])
            sums += total.total
        return losses[:: len(losses) // len(positions)]

    def _sum_weights(self, positions: list[int], before: Choice | None) -> Tensor:
        """Weights of the rows of `_pairs` in each sum of `score`, shape (C, B) or (C, 2 B)."""
        rows = [] if before is None else [self._by_side(before.weights, positions)]
        if self._filters:
            mean = self._by_side(self._filter_weights, positions)
            if self.contrast_rows is not None:
                mean[0] -= mean[0].roll(1)  # minus the contrasts; the helping side is used without
            rows.append(mean)
        return torch.cat(rows) if rows else torch.zeros(0, len(positions))

    def _by_side(self, weights: Tensor, positions: list[int], *, pairs: bool = True) -> Tensor:
        """Weights of B references, each in the row of its side, shape (S, B).

        With `pairs` and contrasts, shape (S, 2 B): the weights of contrasts are 0.
        """
        sides = torch.nn.functional.one_hot(self.sides[positions], len(self.quotas)).T
        by_side = sides * weights[positions]
        if not pairs or self.contrast_rows is None:
            return by_side
        return torch.stack([by_side, torch.zeros_like(by_side)], dim=2).flatten(1)

    def _pairs(self, positions: list[int]) -> dict[str, Any]:
        """A batch of references; with contrasts, each reference is followed by its contrast."""
        if self.contrast_rows is None:
            return self._batch(positions)
        pairs = zip(token_rows(self.rows, positions), token_rows(self.contrast_rows, positions), strict=True)
        return self.collated([row for pair in pairs for row in pair])

    def _batch(self, positions: list[int]) -> dict[str, Any]:
        return self.collated(token_rows(self.rows, positions))

    def collated(self, rows: list[TokenRow]) -> dict[str, Any]:
        """A padded batch of rows on the model's device."""
        return {name: value.to(self.layout.device) for name, value in self._collate(rows).items()}

    def batches(self, positions: Sequence[int], what: str, *, pairs: bool = True) -> Iterator[list[int]]:
        """Batches of this process's share of some positions."""
        positions = positions[process_index() :: process_count()]
        size, quiet = self._config.reference_micro_batch_size, self._config.disable_tqdm
        if pairs and self.contrast_rows is not None:
            size = max(1, size // 2)  # a reference and its contrast are two rows
        return in_batches(positions, size, description=what, unit="ref", quiet=quiet)


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
