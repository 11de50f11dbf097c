"""How long a run is: optimizer steps, refreshes, checkpoints, computed from its settings and its number of rows."""

import math
from dataclasses import dataclass

from dualselect.training.config import DualSelectConfig


@dataclass(frozen=True)
class RunLength:
    """The length of a run.

    Attributes:
        rows: Task rows that are trained on.
        rows_per_step: Task rows of one optimizer step; with packing, on average.
        steps_per_epoch: Optimizer steps of one pass over the task rows.
        steps: Optimizer steps of the run.
        warmup_steps: Those of them before the first refresh.
        refreshes: Reference refreshes; for an adaptive schedule the most there can be.
        checkpoints: Checkpoints written over the run.
        kept_checkpoints: Checkpoints on the disk at once, at most.
    """

    rows: int
    rows_per_step: int
    steps_per_epoch: int
    steps: int
    warmup_steps: int
    refreshes: int
    checkpoints: int
    kept_checkpoints: int


def run_length(config: DualSelectConfig, rows: int, *, packed_rows: int | None = None) -> RunLength:
    """The length of a run of one process.

    Args:
        config: The settings.
        rows: Task rows that are trained on, 1 or more.
        packed_rows: Rows of the loader with packing, 1 or more.
    """
    size, accumulation = config.per_device_train_batch_size, config.gradient_accumulation_steps
    loader = packed_rows or rows
    batches = loader // size if config.dataloader_drop_last else math.ceil(loader / size)
    per_epoch = max(1, math.ceil(batches / accumulation))
    steps = config.max_steps if config.max_steps > 0 else math.ceil(config.num_train_epochs * per_epoch)
    warmup = config.planned_warmup_steps(steps)
    checkpoints = _checkpoints(config, steps, per_epoch)
    limit = config.save_total_limit
    # an old checkpoint is deleted after the new one is written
    kept = min(checkpoints, limit + 1) if limit is not None and limit > 0 else checkpoints
    refreshes = _refreshes(config, steps, per_epoch, warmup)
    in_step = round(size * accumulation * rows / loader)
    return RunLength(rows, in_step, per_epoch, steps, warmup, refreshes, checkpoints, kept)


def _refreshes(config: DualSelectConfig, steps: int, per_epoch: int, warmup: int) -> int:
    if steps <= warmup:
        return 0
    if config.reference_refresh == "epoch":  # at the end of the warm-up, then at the start of each later epoch
        return 1 + (steps - 1) // per_epoch - warmup // per_epoch
    return 1 + (steps - 1 - warmup) // config.reference_refresh_steps


def _checkpoints(config: DualSelectConfig, steps: int, per_epoch: int) -> int:
    strategy = str(getattr(config.save_strategy, "value", config.save_strategy))
    if strategy == "no":
        return 0
    if strategy == "epoch":
        return math.ceil(steps / per_epoch)
    every = config.save_steps if config.save_steps >= 1 else math.ceil(steps * config.save_steps)
    return math.ceil(steps / every)
