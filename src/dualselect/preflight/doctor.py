"""Check a run before it starts: reads everything, trains nothing, writes nothing.

Every check runs, whatever the ones before it found, as far as it can without what was refused.
"""

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import IntervalStrategy, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from dualselect.data.checks import check_embeddings
from dualselect.data.source_rows import SourceRows
from dualselect.data.token_columns import lengths_of
from dualselect.data.tokens import IGNORED_LABEL
from dualselect.gradients import GradientLayout, tapped_layers
from dualselect.preflight.batching import check_batching, check_engine, move_zeros
from dualselect.preflight.coverage import coverage
from dualselect.preflight.disk import (
    checkpoint_bytes,
    counted,
    existing,
    final_bytes,
    free_bytes,
    in_units,
    weight_bytes,
)
from dualselect.preflight.length import RunLength, run_length
from dualselect.preflight.log import held_back_log
from dualselect.preflight.machine import machine_lines, versions
from dualselect.preflight.marked import marked_row
from dualselect.preflight.reading import POOL, TASK, Prepared, check_directory, check_record, load, prepare, read_rows
from dualselect.preflight.refusals import Refusals
from dualselect.runs.resuming import Claim
from dualselect.runs.rows import check_evaluation, with_absolute_paths
from dualselect.runs.settings import RunSettings
from dualselect.runs.train import dualselect_trainer, explain_refusals, fix_date, refuse_other_method
from dualselect.selection import spread
from dualselect.system.visible import one_line
from dualselect.training.config import DualSelectConfig
from dualselect.training.hardware import check_hardware
from dualselect.training.packages import check_packages
from dualselect.training.packing import loader_rows
from dualselect.training.preparation import ROW, PreparedRows, contrast_rows
from dualselect.training.references import without_dropout
from dualselect.training.sides import check_pool
from dualselect.training.start import check_warmup
from dualselect.training.trainer import DualSelectTrainer


SHOWN_ROWS = 5
COMPARED_ROWS = 4
"""Number of rows whose gradients are compared, from short to long."""
SAMPLED_REFERENCES = 4


@dataclass(frozen=True)
class Diagnosis:
    """Result of the check.

    Attributes:
        refused: Every error that would stop the run: what was seen, why, what to change.
        warnings: What the run accepts although it is probably a mistake.
        details: Lines by title.
    """

    refused: list[str]
    warnings: list[str]
    details: dict[str, list[str]] = field(default_factory=dict)

    @property
    def would_start(self) -> bool:
        """Whether training would start."""
        return not self.refused

    def describe(self) -> str:
        """The verdict, then what to change, then the details."""
        verdict = f"training would be refused: {counted(len(self.refused), 'thing')} to change"
        lines = ["training would start" if self.would_start else verdict]
        lines += [f"  {number}. {_indented(text)}" for number, text in enumerate(self.refused, 1)]
        if self.refused:
            lines += ["", "The checks below ran without the refused settings and sources."]
        if self.warnings:
            lines += ["", f"warnings: {len(self.warnings)}", *(f"  - {_indented(text)}" for text in self.warnings)]
        for title, body in self.details.items():
            lines += ["", title, *(f"  {line}" for line in body)]
        return "\n".join(lines)


def examine(
    settings: RunSettings,
    refusals: Refusals,
    record: Mapping[str, Any] | None = None,
    *,
    has_output_dir: bool = True,
    whole_rows: bool = False,
) -> Diagnosis:
    """Examine a run.

    Args:
        settings: Its settings.
        refusals: What was refused so far; more is added.
        record: Record of the run whose config.yaml holds the settings; None without one.
        has_output_dir: Whether an output directory is named; without one it is not examined.
        whole_rows: Show long rows whole.
    """
    with held_back_log() as told:
        examination = _Examination(with_absolute_paths(settings), refusals, record, whole_rows)
        examination.check_settings(has_output_dir=has_output_dir)
        examination.check_rows_and_model()
        examination.check_gradients()
        examination.check_disk(has_output_dir=has_output_dir)
    return Diagnosis(refusals.messages, [*told, *examination.warnings], examination.details)


class _Examination:
    def __init__(
        self, settings: RunSettings, refusals: Refusals, record: Mapping[str, Any] | None, whole_rows: bool
    ) -> None:
        self.settings, self.refusals, self.record, self.whole_rows = settings, refusals, record, whole_rows
        self.warnings: list[str] = []
        self.details: dict[str, list[str]] = {}
        self.claimed = Claim()
        self.rows: dict[str, SourceRows] = {}
        self.prepared: dict[str, Prepared] = {}
        self.model: PreTrainedModel | None = None
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.length: RunLength | None = None
        self.trainable = self.weights = 0

    # Settings

    def check_settings(self, *, has_output_dir: bool) -> None:
        training, collecting = self.settings.training, self.refusals.collecting
        with collecting():
            refuse_other_method(self.record, None)
        with collecting():
            check_evaluation(self.settings)
        with collecting():
            check_hardware(training)
        trackers = training.report_to or []
        for some in [*([name] for name in trackers), []]:
            one = copy.copy(training)
            one.report_to = some
            with collecting():
                check_packages(one)
        if has_output_dir:
            self.claimed = check_directory(self.settings, self.refusals)
            if self.claimed.done:
                self.warnings.append("the run is finished already (resume: auto): nothing would be trained")
        self.details["Versions and machine"] = [
            ", ".join(f"{name} {version}" for name, version in versions().items()),
            *machine_lines(training.device),
        ]

    # Rows and model

    def check_rows_and_model(self) -> None:
        self.rows, shared = read_rows(self.settings, self.refusals)
        loaded = load(self.settings, self.refusals)
        if loaded is not None:
            self.settings, self.model, self.tokenizer = loaded
            fix_date(self.tokenizer, self.record)
        check_record(self.settings, self.record, self.claimed, self.rows, loaded and loaded[1:], self.refusals)
        if self.tokenizer is not None:
            config = copy.copy(self.settings.training)
            config.token_cache = False  # nothing is written
            for role, found in self.rows.items():
                prepared = prepare(role, found.dataset, self.tokenizer, config, self.refusals)
                if prepared is not None:
                    self.prepared[role] = prepared
            self._check_pool(config)
            self._check_tokens()
        self._describe_rows(shared)
        if TASK in self.prepared:
            self._check_length(self.prepared[TASK].rows.tokens)

    def _check_pool(self, config: DualSelectConfig) -> None:
        if POOL not in self.prepared:
            return
        with self.refusals.collecting():
            pool = self.prepared[POOL].rows
            check_pool(pool.tokens, contrast_rows(pool, self.tokenizer, config), config.reference_top_k)

    def _check_tokens(self) -> None:
        with self.refusals.collecting():
            assert self.tokenizer is not None
            tokens = {role: prepared.rows.tokens for role, prepared in self.prepared.items()}
            check_embeddings(self.model, self.tokenizer, pad_token=self.settings.training.pad_token, **tokens)

    def _check_length(self, rows: Dataset) -> None:
        training = self.settings.training
        self.length = length = run_length(training, len(rows), packed_rows=len(loader_rows(rows, training)))
        with self.refusals.collecting():
            check_warmup(training, length.steps)
        most = "at most " if training.reference_refresh == "adaptive" else ""
        self.details["Length"] = [
            f"{counted(length.steps, 'optimizer step')} of {counted(length.rows_per_step, 'row')} "
            f"({length.steps_per_epoch:,} in an epoch), {length.warmup_steps:,} of them warm-up",
            f"{most}{counted(length.refreshes, 'reference refresh')}",
        ]

    def _describe_rows(self, shared: Mapping[str, int]) -> None:
        lines: list[str] = []
        for role, found in self.rows.items():
            lines += [line for note in found.notes for line in f"{role}: {note}".splitlines()]
            if role in self.prepared:
                lines += self._describe_tokens(role)
        for sentence, count in shared.items():
            lines.append(f"{sentence}: {count:,}")
        self.details["Rows"] = lines or ["none could be read"]
        for role in (TASK, POOL):
            if role in self.prepared:
                title = f"The first rows of {role} as the model sees them (>> marks supervised tokens)"
                self.details[title] = list(self._shown(self.prepared[role].rows))

    def _describe_tokens(self, role: str) -> list[str]:
        prepared = self.prepared[role]
        report = prepared.report
        unsupervised = report.rows_in - report.rows_kept
        if prepared.double_start:
            self.warnings.append(
                f"{role}: {prepared.double_start:,} rows begin with two start tokens, which the model did not see in "
                "its training: take the start token out of the texts or out of the chat template "
                "(--chat_template_path FILE.jinja)"
            )
        return [
            *report.describe().splitlines(),
            f"  rows without a supervised token (dropped): {unsupervised:,}",
            f"  rows longer than max_length {self.settings.training.max_length}: {report.truncated_rows:,} cut, "
            f"{len(report.without_supervision):,} dropped",
            f"  rows with two start tokens (double BOS): {prepared.double_start:,}",
        ]

    def _shown(self, rows: PreparedRows) -> Iterator[str]:
        for position, row in enumerate(rows.tokens.select(range(min(SHOWN_ROWS, len(rows.tokens))))):
            supervised = sum(label != IGNORED_LABEL for label in row["labels"])
            name = one_line(rows.ids_of([row[ROW]])[0])
            yield f"{position + 1}. {name}: {len(row['input_ids']):,} tokens, {supervised:,} supervised"
            yield from marked_row(row["input_ids"], row["labels"], self.tokenizer, whole=self.whole_rows)

    # Gradients

    def check_gradients(self) -> None:
        title = "Gradients"
        if self.model is None or not {TASK, POOL} <= set(self.prepared):
            self.details[title] = ["not checked: model, task rows and reference pool are needed"]
            return
        with tempfile.TemporaryDirectory(prefix="dualselect-") as folder, self.refusals.collecting():
            trainer = self._sample_trainer(folder)
            covered = coverage(trainer.model)
            self.trainable, self.weights = covered.trainable, weight_bytes(trainer.model)
            self.details[title] = covered.describe()
            if self.settings.training.gradient_engine == "taps":
                tapped_layers(trainer.model, GradientLayout.of(trainer.model))
            self.details[title] += self._compared(trainer)

    def _sample_trainer(self, folder: str) -> DualSelectTrainer:
        """The trainer of the run, on a few rows; its other settings are those of the run."""
        assert self.model is not None
        assert self.tokenizer is not None
        config = copy.copy(self.settings.training)
        config.output_dir, config.token_cache, config.push_to_hub, config.report_to = folder, False, False, []
        config.eval_strategy, config.reference_contrast = IntervalStrategy.NO, "none"
        # these are checked separately, on all rows
        config.gradient_engine, config.allow_prompt_overlap = "sequential", True
        config.padding_free = config.packing = False
        sample = {
            TASK: _sampled(self.rows[TASK], self.prepared[TASK].rows, COMPARED_ROWS),
            POOL: _sampled(self.rows[POOL], self.prepared[POOL].rows, SAMPLED_REFERENCES),
        }
        with explain_refusals():
            set_seed(config.seed)
            return dualselect_trainer(replace(self.settings, training=config), sample, self.model, self.tokenizer)

    def _compared(self, trainer: DualSelectTrainer) -> list[str]:
        training, model = self.settings.training, trainer.model
        tokens = trainer.train_dataset.select_columns(["input_ids", "labels"])
        batch = trainer.data_collator(list(tokens))
        inputs = {name: value.to(training.device) for name, value in batch.items()}
        rounded = bool(training.bf16) or any(parameter.dtype != torch.float32 for parameter in model.parameters())
        model.train()
        move_zeros(model)
        try:
            with without_dropout(model), trainer.compute_loss_context_manager():
                found = check_batching(model, inputs, rounded=rounded)
                check_engine(training.gradient_engine, model, inputs)
        except torch.OutOfMemoryError:
            self.warnings.append(
                f"the gradients of {len(tokens)} rows of all lengths ran out of GPU memory: set "
                "gradient_checkpointing: true, or lower max_length"
            )
            return ["not compared: out of GPU memory"]
        lengths = ", ".join(map(str, found.lengths))
        line = (
            f"largest relative difference between the gradient of a row in a padded batch and alone: "
            f"{found.largest:.1e} (rows of {lengths} tokens; up to {found.tolerance:g} is rounding)"
        )
        if found.changes and training.gradient_engine == "taps":
            self.warnings.append(
                f"batching changes the per-example gradients of this model by up to {found.largest:.1%}: write "
                "per_device_train_batch_size: 1 and reference_batch_size: 1 (with gradient_accumulation_steps for as "
                "many rows per step), or gradient_engine: sequential, or another attn_implementation"
            )
        answer = "changes" if found.changes else "does not change"
        return [f"batching {answer} the per-example gradients", line]

    # Disk

    def check_disk(self, *, has_output_dir: bool) -> None:
        if self.length is None or not self.trainable or not has_output_dir:
            return
        training, length = self.settings.training, self.length
        path = Path(training.output_dir or ".")
        each = checkpoint_bytes(training, self.trainable, self.weights, self.tokenizer)
        needed = length.kept_checkpoints * each + final_bytes(self.weights, self.tokenizer)
        free = free_bytes(path)
        self.details["Disk"] = [
            f"{counted(length.kept_checkpoints, 'checkpoint')} of {in_units(each)}, and the final weights: "
            f"{in_units(needed)}",
            f"free in {existing(path)}: {in_units(free)}",
        ]
        if needed > free:
            self.warnings.append(
                f"checkpoints and final weights need about {in_units(needed)} and {in_units(free)} are free in "
                f"{existing(path)}: set save_total_limit: 1 or a larger save_steps, make room, or name another "
                "output_dir"
            )


def _sampled(found: SourceRows, rows: PreparedRows, count: int) -> SourceRows:
    """A few of the rows that are used, from the longest to short ones."""
    lengths = lengths_of(rows.tokens)
    order = sorted(range(len(lengths)), key=lambda position: -lengths[position])
    return replace(found, dataset=found.dataset.select([rows.indices[place] for place in spread(order, count)]))


def _indented(text: str) -> str:
    return text.replace("\n", "\n     ")
