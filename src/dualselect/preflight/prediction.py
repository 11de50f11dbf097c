"""Predict the duration of the whole run from a few measured steps.

A step takes as long as the timed steps did in the median, corrected for the length of their rows; a pass over the pool
as long as its slice did, times the tokens of the pool over those of the slice.
"""

import math
from dataclasses import dataclass

import numpy as np

from dualselect.data.token_columns import lengths_of
from dualselect.preflight.length import RunLength
from dualselect.preflight.measuring import UNTIMED_STEPS, Measured, references_at_once
from dualselect.training.config import DualSelectConfig
from dualselect.training.harmless import rows_of_a_kind
from dualselect.training.packing import batch_tokens, is_padded, loader_lengths
from dualselect.training.preparation import PreparedRows


SHUFFLES = 20
"""Random orders of the task rows over which the tokens of a step are averaged."""


@dataclass(frozen=True)
class Duration:
    """Seconds of each part of a run, over the whole run.

    Attributes:
        start: Reading, loading, tokenizing; what the first steps take beyond an ordinary step; for `excess`, the
            losses of the references at the start.
        step: One optimizer step.
        steps: All optimizer steps, the gradients of a `replay` too.
        refresh: One refresh.
        refreshes: All refreshes, and the look at the references at the end.
        saving: Checkpoints and adapter.
        evaluation: Held-out rows.
    """

    start: float
    step: float
    steps: float
    refresh: float
    refreshes: float
    saving: float
    evaluation: float

    @property
    def total(self) -> float:
        """Seconds of the whole run."""
        return self.start + self.steps + self.refreshes + self.saving + self.evaluation


def predict(
    measured: Measured,
    length: RunLength,
    config: DualSelectConfig,
    task: PreparedRows,
    pool: PreparedRows,
    *,
    start: float,
    held_out: int = 0,
) -> Duration:
    """Predict the duration of a run.

    Args:
        measured: What was measured.
        length: The length of the run.
        config: Its settings.
        task: Its task rows.
        pool: Its references.
        start: Seconds from the start of the command to the first step.
        held_out: Held-out rows.
    """
    plain = _step_seconds(measured, _tokens_of_a_step(loader_lengths(task.tokens, config), config))
    slow_start = max(0.0, measured.seconds[0] + measured.seconds[UNTIMED_STEPS - 1] - 2 * plain)
    whole = sum(batch_tokens(np.sort(lengths_of(pool.tokens))[::-1], references_at_once(config), padded=True))
    by_pool = whole / max(1, measured.slice_tokens)
    count = len(pool.tokens)
    selected = selected_references(config, count)
    by_selected = selected / max(1, measured.slice_selected)
    once = _seconds_of(measured, "start_losses") * by_pool
    directions = _seconds_of(measured, "directions", first=True) * by_selected
    rate = config.harmless_drop_rate
    by_harmless = rows_of_a_kind(len(task.tokens), rate) / rows_of_a_kind(0, rate)  # the sample is a short run
    calibrating = sum(_seconds_of(measured, name) for name in ("collated", "run"))  # of the harmless rows
    refresh = _seconds_of(measured, "score") * by_pool + directions + calibrating * by_harmless
    selecting = max(0, length.steps - length.warmup_steps)
    replay = _replay_seconds(measured) * _replayed(config, selected) / _replayed(config, measured.slice_selected)
    # the direction of a refresh has contrasts, unless the filter has a direction of its own; that of the end has none
    contrasted = config.reference_contrast != "none" and not config.filters_by_conflict
    end = directions / (2 if contrasted else 1) if length.refreshes else 0.0
    return Duration(
        start=start + slow_start + once,
        step=plain,
        steps=plain * length.steps + replay * selecting,
        refresh=refresh,
        refreshes=refresh * length.refreshes + end,
        saving=measured.save_seconds * (length.checkpoints + 1),
        evaluation=measured.evaluation_seconds * held_out * _evaluations(config, length),
    )


def selected_references(config: DualSelectConfig, count: int) -> int:
    """References that a refresh selects of a pool of `count`."""
    wanted = config.reference_top_k or math.ceil(config.reference_fraction * count - 1e-9)
    return min(wanted, count)


def _step_seconds(measured: Measured, expected_tokens: float) -> float:
    """Seconds of a step of the expected number of tokens.

    The median of the timed steps, each moved along the slope of time over tokens: a burst of other work in one step
    does not count.
    """
    seconds, tokens = measured.timed
    mean = float(seconds.mean())
    spread = float(tokens.var())
    slope = float(((seconds - mean) * (tokens - tokens.mean())).mean()) / spread if spread else 0.0
    # time does not fall with tokens, and grows no faster than they do
    slope = min(max(slope, 0.0), mean / float(tokens.mean()))
    return float(np.median(seconds + slope * (expected_tokens - tokens)))


def _tokens_of_a_step(lengths: np.ndarray, config: DualSelectConfig) -> float:
    """Mean number of tokens of an optimizer step, with padding if batches are padded, over random orders."""
    chance = np.random.default_rng(0)
    size, accumulation = config.per_device_train_batch_size, config.gradient_accumulation_steps
    totals = []
    for _ in range(SHUFFLES):
        batches = batch_tokens(chance.permutation(lengths), size, padded=is_padded(config))
        totals.append(sum(batches) / math.ceil(len(batches) / accumulation))
    return float(np.mean(totals))


def _seconds_of(measured: Measured, name: str, *, first: bool = False) -> float:
    """Seconds of a method of the pool, of all its calls or of the first, up to the refresh."""
    found = [call.seconds for call in measured.calls if call.name == name and call.step < UNTIMED_STEPS]
    return sum(found[:1] if first else found)


def _replay_seconds(measured: Measured) -> float:
    later = [call.seconds for call in measured.calls if call.name == "directions" and call.step >= UNTIMED_STEPS]
    return sum(later) / max(1, len(later))


def _replayed(config: DualSelectConfig, selected: int) -> int:
    return max(1, min(config.reference_replay_size, selected))


def _evaluations(config: DualSelectConfig, length: RunLength) -> int:
    strategy = str(getattr(config.eval_strategy, "value", config.eval_strategy))
    if strategy == "no":
        return 0
    if strategy == "epoch":
        return math.ceil(length.steps / length.steps_per_epoch)
    every = config.eval_steps or config.logging_steps
    return int(length.steps // (every if every >= 1 else math.ceil(length.steps * every)))
