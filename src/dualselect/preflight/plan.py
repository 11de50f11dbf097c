"""Predict a run from a few of its real steps: duration, peak memory, disk, and what to change to fit a memory."""

import copy
import gc
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dualselect.data.source_rows import SourceRows
from dualselect.models.checking import check_model
from dualselect.preflight.disk import counted, existing, free_bytes, in_units
from dualselect.preflight.fitting import MemoryParts, changes_to_fit
from dualselect.preflight.length import RunLength, run_length
from dualselect.preflight.log import held_back_log
from dualselect.preflight.machine import busy_warning, machine_lines
from dualselect.preflight.measuring import Measured, Sample, measure, sampled
from dualselect.preflight.prediction import Duration, predict
from dualselect.preflight.reading import HELD_OUT, POOL, TASK
from dualselect.runs.model import load_run_model
from dualselect.runs.record import data_record, run_record
from dualselect.runs.rows import check_evaluation, read_run_rows, with_absolute_paths
from dualselect.runs.settings import RunSettings
from dualselect.runs.train import fix_date
from dualselect.training.hardware import check_hardware
from dualselect.training.packages import check_packages
from dualselect.training.packing import loader_rows
from dualselect.training.preparation import PreparedRows, contrast_rows, prepare_rows
from dualselect.training.sides import check_pool
from dualselect.training.start import check_warmup


SECONDS = 20.0
"""How long optimizer steps are timed, by default."""


@dataclass(frozen=True)
class Plan:
    """What a run will take.

    Attributes:
        settings: Its settings.
        length: Steps, refreshes, checkpoints.
        duration: Seconds of its parts.
        measured: What was measured; sizes in bytes.
        parts: What the peaks are made up of.
        changes: What to change to fit a memory; empty when none was named.
        warnings: Of the steps that were measured.
        memory: The memory to fit, in bytes; None when none was named.
    """

    settings: RunSettings
    length: RunLength
    duration: Duration
    measured: Measured
    parts: MemoryParts
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    memory: int | None = None

    @property
    def minutes(self) -> float:
        """Minutes from the start of the command to its end."""
        return self.duration.total / 60

    @property
    def peak_memory(self) -> int:
        """The larger of the peaks of a step and of a refresh, in bytes."""
        return max(self.measured.step_memory, self.measured.refresh_memory)

    @property
    def disk(self) -> int:
        """Bytes of the checkpoints that are kept at once, and of the final weights."""
        return self.length.kept_checkpoints * self.measured.checkpoint_bytes + self.measured.final_bytes

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of the plan by name: seconds, bytes, counts."""
        names = ("start", "step", "steps", "refresh", "refreshes", "saving", "evaluation", "total")
        return {f"{name}_seconds": getattr(self.duration, name) for name in names} | {
            "steps": self.length.steps,
            "warmup_steps": self.length.warmup_steps,
            "refreshes": self.length.refreshes,
            "checkpoints": self.length.checkpoints,
            "start_memory": self.measured.start_memory,
            "step_memory": self.measured.step_memory,
            "refresh_memory": self.measured.refresh_memory,
            "peak_memory": self.peak_memory,
            "checkpoint_bytes": self.measured.checkpoint_bytes,
            "final_bytes": self.measured.final_bytes,
            "disk_bytes": self.disk,
        }

    def describe(self) -> str:
        """The plan in lines: minutes first."""
        training, length, measured = self.settings.training, self.length, self.measured
        most = "at most " if training.reference_refresh == "adaptive" else ""
        parts = self.duration
        path = Path(training.output_dir or ".")
        seconds, _ = measured.timed
        lines = [
            f"{_minutes(parts.total)} in all: {counted(length.steps, 'optimizer step')} "
            f"({length.warmup_steps:,} warm-up), {most}{counted(length.refreshes, 'reference refresh')}",
            "",
            "Time",
            f"  start        {_minutes(parts.start)}",
            f"  steps        {_minutes(parts.steps)}   {length.steps:,} x {parts.step:.3g} s "
            f"(median of {len(seconds)}, {seconds.min():.3g} to {seconds.max():.3g} s)",
            f"  refreshes    {_minutes(parts.refreshes)}   {length.refreshes:,} x {parts.refresh:.3g} s "
            f"(from {counted(measured.slice_references, 'reference')})",
            f"  checkpoints  {_minutes(parts.saving)}",
        ]
        if self.settings.data.eval_data:
            lines.append(f"  evaluation   {_minutes(parts.evaluation)}")
        lines += [
            "",
            f"Peak memory ({'of the GPU' if training.device.type == 'cuda' else 'resident, of the process'})",
            f"  now                   {in_units(measured.start_memory)}",
            f"  at full accumulation  {in_units(measured.step_memory)}   a step of the longest rows",
            f"  at refresh            {in_units(measured.refresh_memory)}",
            *(f"  {line}" for line in self.parts.describe()),
            "",
            "Disk",
            f"  {counted(length.kept_checkpoints, 'checkpoint')} of {in_units(measured.checkpoint_bytes)} + "
            f"{in_units(measured.final_bytes)} final weights = {in_units(self.disk)}; free in {existing(path)}: "
            f"{in_units(free_bytes(path))}",
        ]
        if self.changes:
            assert self.memory is not None
            lines += ["", f"To fit {in_units(self.memory)}", *(f"  {line}" for line in self.changes)]
        lines += ["", "Machine", *(f"  {line}" for line in machine_lines(training.device))]
        if self.warnings:
            lines += ["", f"warnings: {len(self.warnings)}", *(f"  - {text}" for text in self.warnings)]
        return "\n".join(lines)


@dataclass(frozen=True)
class _Ready:
    settings: RunSettings
    rows: dict[str, SourceRows]
    task: PreparedRows
    pool: PreparedRows
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def plan_run(
    settings: RunSettings,
    *,
    memory: int | None = None,
    seconds: float = SECONDS,
    started: float | None = None,
) -> Plan:
    """Predict what a run will take, from a few of its steps.

    Nothing is written into its output directory.

    Args:
        settings: Its settings.
        memory: A memory to fit, in bytes.
        seconds: How long optimizer steps are timed, at least.
        started: `time.monotonic()` when the command began; None for now.

    Raises:
        DualSelectError: Settings, data or model cannot be used; the message says what to change.
    """
    started = time.monotonic() if started is None else started
    with held_back_log() as told:
        ready = _ready(with_absolute_paths(settings))
        training = ready.settings.training
        tokens = ready.task.tokens
        length = run_length(training, len(tokens), packed_rows=len(loader_rows(tokens, training)))
        check_warmup(training, length.steps)
        sample = sampled(ready.rows, {TASK: ready.task, POOL: ready.pool}, training)
        start = time.monotonic() - started
        measured = measure(ready.settings, sample, ready.model, ready.tokenizer, seconds=seconds)
        held_out = len(ready.rows[HELD_OUT].dataset) if HELD_OUT in ready.rows else 0
        duration = predict(measured, length, training, ready.task, ready.pool, start=start, held_out=held_out)
        parts = MemoryParts.of(measured, training)
        changes = [] if memory is None else _changes(ready, sample, parts, memory)
        busy = busy_warning(psutil.getloadavg()[0], os.cpu_count() or 1)
    return Plan(ready.settings, length, duration, measured, parts, changes, [*told, *([busy] if busy else [])], memory)


def _ready(settings: RunSettings) -> _Ready:
    """Do what a run does before its first step, in the same order."""
    check_evaluation(settings)
    check_hardware(settings.training)
    check_packages(settings.training)
    check_model(settings.model)
    rows = read_run_rows(settings, with_pool=True)
    data = {role: {"sources": found.sources} | data_record(found.dataset, found.files) for role, found in rows.items()}
    model, tokenizer = load_run_model(settings)
    fix_date(tokenizer, None)
    run_record(settings, data, model, tokenizer)
    prepared = {
        role: prepare_rows(found.dataset, tokenizer, settings.training, name=role) for role, found in rows.items()
    }
    pool = prepared[POOL]
    check_pool(pool.tokens, contrast_rows(pool, tokenizer, settings.training), settings.training.reference_top_k)
    return _Ready(settings, rows, prepared[TASK], pool, model, tokenizer)


def _changes(ready: _Ready, sample: Sample, parts: MemoryParts, memory: int) -> list[str]:
    """What to change to fit a memory; gradient checkpointing is measured where the micro-batch alone is not enough."""
    training = ready.settings.training
    checkpointed = None
    if parts.settled < memory < parts.step(parts.rows, 1) and not training.gradient_checkpointing:
        checkpointed = _checkpointed(ready, sample)
    return changes_to_fit(parts, memory, checkpointed)


def _checkpointed(ready: _Ready, sample: Sample) -> MemoryParts:
    config = copy.copy(ready.settings.training)
    for name in ("gradient_checkpointing", "activation_checkpointing"):
        setattr(config, name, True)
    settings = replace(ready.settings, training=config)
    model, tokenizer = load_run_model(settings)  # the first one has an adapter by now
    measured = measure(settings, sample, model, tokenizer, seconds=0.0, memory_only=True)
    del model
    gc.collect()
    return MemoryParts.of(measured, config)


def _minutes(seconds: float) -> str:
    whole, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(whole, 60)
    return f"{hours:,} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
