"""A few real optimizer steps and one refresh of a slice of the pool, timed, with their peak memory.

The trainer is that of the run, on a sample of its rows and in a temporary folder. The steps, in order: a first one;
one of the longest rows, for the peak memory; one with a refresh before it; then those that are timed.

Shapes: P trainable parameters.
"""

import copy
import functools
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import (
    IntervalStrategy,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from dualselect.data.source_rows import SourceRows
from dualselect.data.token_columns import lengths_of
from dualselect.gradients import GradientLayout
from dualselect.preflight.memory import PeakMemory
from dualselect.preflight.reading import HELD_OUT, POOL, TASK
from dualselect.runs.settings import RunSettings
from dualselect.runs.train import dualselect_trainer, explain_refusals
from dualselect.selection import spread
from dualselect.training.config import DualSelectConfig
from dualselect.training.gradient_storage import DTYPES, choose_storage
from dualselect.training.packing import batch_tokens, is_padded, loader_rows
from dualselect.training.preparation import PreparedRows
from dualselect.training.trainer import DualSelectTrainer


UNTIMED_STEPS = 3
"""The first step, the one of the longest rows, the one with the refresh."""
FEWEST_TIMED, MOST_TIMED = 5, 24
SLICE_BATCHES, SLICE_REFERENCES = 3, 24
"""The slice of the pool has as many whole batches as this, and more until it has as many references."""
HELD_OUT_ROWS = 32


@dataclass(frozen=True)
class PoolCall:
    """A call of the reference pool.

    Attributes:
        name: Of the method.
        step: Optimizer steps done before.
        seconds: Its duration.
    """

    name: str
    step: int
    seconds: float


@dataclass
class Measured:
    """What was measured; sizes in bytes.

    Attributes:
        seconds: Duration of each optimizer step, without the calls of the pool, the untimed ones first.
        tokens: Tokens of each of these steps, with padding if batches are padded.
        calls: The calls of the pool.
        save_seconds: Duration of saving a checkpoint; 0 where none is saved.
        evaluation_seconds: Duration of an evaluation of each held-out row; 0 without any.
        checkpoint_bytes: Size of a checkpoint on the disk; 0 where none is saved.
        final_bytes: Size of the final weights on the disk.
        start_memory: Memory in use before the first step.
        settled_memory: Memory in use between two steps, with the optimizer's moments and the directions.
        step_memory: Peak of a step.
        refresh_memory: Peak of a refresh; 0 without one.
        slice_tokens: Tokens with padding of the slice of the pool.
        slice_references: References in the slice.
        slice_selected: References selected of them.
        trainable: P.
        row_gradients: Bytes of the per-example gradients of a row that are kept in the memory that is measured.
    """

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    calls: list[PoolCall] = field(default_factory=list)
    save_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    checkpoint_bytes: int = 0
    final_bytes: int = 0
    start_memory: int = 0
    settled_memory: int = 0
    step_memory: int = 0
    refresh_memory: int = 0
    slice_tokens: int = 0
    slice_references: int = 0
    slice_selected: int = 0
    trainable: int = 0
    row_gradients: int = 0

    @property
    def timed(self) -> tuple[np.ndarray, np.ndarray]:
        """Seconds and tokens of the timed steps."""
        return np.array(self.seconds[UNTIMED_STEPS:]), np.array(self.tokens[UNTIMED_STEPS : len(self.seconds)])


@dataclass(frozen=True)
class Sample:
    """The rows that are measured on.

    Attributes:
        rows: Rows by role.
        reference_tokens: Tokens with padding of the references.
    """

    rows: dict[str, SourceRows]
    reference_tokens: int


def sampled(rows: Mapping[str, SourceRows], prepared: Mapping[str, PreparedRows], config: DualSelectConfig) -> Sample:
    """Choose the rows that are measured on: of the task in random order, of the pool whole batches of all lengths.

    Args:
        rows: The rows of the run by role.
        prepared: Task rows and references, tokenized.
        config: The settings of the run.
    """
    lengths = lengths_of(prepared[TASK].tokens)
    per_step = config.per_device_train_batch_size * config.gradient_accumulation_steps
    if config.packing:
        per_step = -(-per_step * len(lengths) // len(loader_rows(prepared[TASK].tokens, config)))
    chance = np.random.default_rng(config.seed)
    wanted = per_step * (UNTIMED_STEPS + MOST_TIMED)
    order = np.concatenate([chance.permutation(len(lengths)) for _ in range(-(-wanted // len(lengths)))])[:wanted]
    order[per_step : 2 * per_step] = np.resize(np.argsort(-lengths, kind="stable")[:per_step], per_step)
    places, tokens = _slice(lengths_of(prepared[POOL].tokens), references_at_once(config))
    found = {TASK: _taken(rows[TASK], prepared[TASK], order), POOL: _taken(rows[POOL], prepared[POOL], places)}
    if HELD_OUT in rows:
        held_out = rows[HELD_OUT].dataset
        some = spread(range(len(held_out)), HELD_OUT_ROWS)
        found[HELD_OUT] = replace(rows[HELD_OUT], dataset=held_out.select(some))
    return Sample(found, tokens)


def references_at_once(config: DualSelectConfig) -> int:
    """References in one batch of the pool; with a contrast, each takes the place of two rows."""
    size = config.reference_micro_batch_size
    return size if config.reference_contrast == "none" else max(1, size // 2)


def measure(
    settings: RunSettings,
    sample: Sample,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    seconds: float,
    memory_only: bool = False,
) -> Measured:
    """Run the steps.

    Args:
        settings: The settings of the run.
        sample: The rows.
        model: The model before any adapter; it is changed.
        tokenizer: Its tokenizer.
        seconds: How long steps are timed, at least; at least `FEWEST_TIMED` and at most `MOST_TIMED` steps.
        memory_only: Only the first two steps, for their peak memory.
    """
    with tempfile.TemporaryDirectory(prefix="dualselect-plan-") as folder:
        config = _measuring_config(settings.training, folder, memory_only=memory_only)
        with explain_refusals():
            set_seed(config.seed)
            trainer = dualselect_trainer(replace(settings, training=config), sample.rows, model, tokenizer)
        measured = Measured(slice_tokens=sample.reference_tokens)
        meter = PeakMemory(config.device)
        last = 2 if memory_only else UNTIMED_STEPS + MOST_TIMED
        saves = not memory_only and _text(settings.training.save_strategy) != "no"
        watch = _Watch(measured, meter, seconds=seconds, last=last, saves=saves, quiet=config.disable_tqdm)
        pool: Any = _TimedPool(trainer.pool, watch, config.device)
        measured.slice_references, measured.slice_selected = len(trainer.pool.rows), trainer.pool.selected_count
        trainer.pool = pool
        size, steps = config.per_device_train_batch_size, config.gradient_accumulation_steps
        batches = batch_tokens(lengths_of(trainer.train_dataset), size, padded=is_padded(config))
        measured.tokens = [sum(batches[start : start + steps]) for start in range(0, len(batches), steps)]
        measured.trainable = sum(value.numel() for value in trainer.model.parameters() if value.requires_grad)
        measured.row_gradients = _row_gradients(trainer)
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        trainer.add_callback(watch)
        with watch:
            trainer.train()
        if not memory_only:
            _measure_files(trainer, Path(folder), measured)
            _measure_evaluation(trainer, measured)
    return measured


def _slice(lengths: np.ndarray, size: int) -> tuple[list[int], int]:
    """Positions in the pool and their tokens with padding: whole batches of the pool's own order, longest first."""
    order = np.argsort(-lengths, kind="stable")
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    count = max(SLICE_BATCHES, -(-SLICE_REFERENCES // size))
    taken = [batches[place] for place in spread(range(len(batches)), count)]
    places = [int(position) for batch in taken for position in batch]
    return places, sum(batch_tokens(lengths[places], size, padded=True))


def _taken(found: SourceRows, rows: PreparedRows, places: Sequence[int] | np.ndarray) -> SourceRows:
    indices = rows.indices
    dataset = found.dataset.select([indices[int(place)] for place in places])
    # a row may come more than once
    ids = [f"{number}" for number in range(len(dataset))]
    return replace(found, dataset=dataset.remove_columns("id").add_column("id", ids))


def _measuring_config(training: DualSelectConfig, folder: str, *, memory_only: bool) -> DualSelectConfig:
    config = copy.copy(training)
    changed = {
        "output_dir": folder,
        "max_steps": 10**6,
        "selection_warmup_steps": 10**5 if memory_only else UNTIMED_STEPS - 1,
        "reference_refresh": "steps",
        "reference_refresh_steps": 10**6,
        "train_sampling_strategy": "sequential",
        "shuffle_dataset": False,
        "save_strategy": IntervalStrategy.NO,
        "eval_strategy": IntervalStrategy.NO,
        "load_best_model_at_end": False,
        "report_to": [],
        "push_to_hub": False,
        "token_cache": False,
        "resume_from_checkpoint": None,
        "allow_prompt_overlap": True,  # shared prompts were left out of all rows
    }
    for name, value in changed.items():
        setattr(config, name, value)
    return config


class _Watch(TrainerCallback):
    """Times the steps, takes their peaks, ends the training."""

    def __init__(
        self, measured: Measured, meter: PeakMemory, *, seconds: float, last: int, saves: bool, quiet: bool
    ) -> None:
        self.measured, self.meter = measured, meter
        self._seconds, self._last, self._saves = seconds, last, saves
        self._bar = tqdm(total=round(seconds, 1), desc="Planning: a few steps", unit="s", leave=False, disable=quiet)
        self._since, self._in_pool, self._timed = 0.0, 0.0, 0.0
        self.step = 0

    def __enter__(self) -> "_Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.meter.take(release=True)
        self.measured.start_memory = self.meter.now()
        self._since = now(args.device)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        elapsed = now(args.device) - self._since
        self.measured.seconds.append(elapsed - self._in_pool)
        self.measured.step_memory = max(self.measured.step_memory, self._peak())
        self._in_pool, self.step = 0.0, state.global_step
        if self.step > UNTIMED_STEPS:
            self._bar.update(min(elapsed, max(0.0, self._seconds - self._timed)))
            self._timed += elapsed
        if self.step == min(self._last, UNTIMED_STEPS):
            self.measured.settled_memory = self.meter.now()
        enough = self.step >= UNTIMED_STEPS + FEWEST_TIMED and self._timed >= self._seconds
        if enough or self.step >= self._last:
            control.should_training_stop, control.should_save = True, self._saves
        self._since = now(args.device)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.measured.save_seconds = now(args.device) - self._since

    def call(self, name: str, function: Any, device: torch.device, *arguments: Any, **options: Any) -> Any:
        """Call a method of the pool, and record its time and its peak."""
        entered = now(device)
        self.measured.step_memory = max(self.measured.step_memory, self._peak())
        begun = now(device)
        result = function(*arguments, **options)
        self.measured.calls.append(PoolCall(name, self.step, now(device) - begun))
        self.measured.refresh_memory = max(self.measured.refresh_memory, self._peak())
        self._in_pool += now(device) - entered
        return result

    def _peak(self) -> int:
        """The peak since the last call; before the timed steps, without what an earlier phase left behind."""
        return self.meter.take(release=self.step < UNTIMED_STEPS)


class _TimedPool:
    """A reference pool whose every call is recorded."""

    def __init__(self, pool: Any, watch: _Watch, device: torch.device) -> None:
        self._pool, self._watch, self._device = pool, watch, device

    def __len__(self) -> int:
        return len(self._pool)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._pool, name)
        if not callable(found):
            return found
        return functools.partial(self._watch.call, name, found, self._device)


def now(device: torch.device) -> float:
    """Seconds of a clock, once the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _row_gradients(trainer: DualSelectTrainer) -> int:
    """Bytes that the gradients of a loader row take on the device, by the storage that the run would choose."""
    layout, most = GradientLayout.of(trainer.model), trainer.loader.most_in_one
    storage = choose_storage(trainer.args, trainer.model, layout, rows_in_one=most)
    if storage == "recompute" or (storage == "host" and layout.device.type != "cpu"):
        return 0
    return most * layout.size * DTYPES[trainer.args.gradient_dtype].itemsize


def _measure_files(trainer: DualSelectTrainer, folder: Path, measured: Measured) -> None:
    measured.checkpoint_bytes = sum(map(_size, folder.glob("checkpoint-*")))
    trainer.save_model(str(folder / "adapter"))
    measured.final_bytes = _size(folder / "adapter")


def _measure_evaluation(trainer: DualSelectTrainer, measured: Measured) -> None:
    if trainer.eval_dataset is None:
        return
    begun = now(trainer.args.device)
    trainer.evaluate()
    measured.evaluation_seconds = (now(trainer.args.device) - begun) / len(trainer.eval_dataset)


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))
