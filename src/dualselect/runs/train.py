"""One run from its settings: check everything, then train, save and summarize."""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from trl import SFTTrainer

from dualselect.data.source_rows import SourceRows
from dualselect.data.template_dates import date_of, fixed_date, uses_date
from dualselect.errors import ConfigError, DualSelectError, ResumeError
from dualselect.models.checking import check_model
from dualselect.runs.config_file import RECORD_KEY, write_config
from dualselect.runs.directory import EVALUATION, RunDirectory
from dualselect.runs.interruption import Interruption
from dualselect.runs.metrics_log import MetricsLog
from dualselect.runs.model import adapted, load_run_model
from dualselect.runs.plan_text import log_plan
from dualselect.runs.record import check_data, check_weights, data_record, run_record, warn_of_differences
from dualselect.runs.resuming import Claim, claim, record_of_same_run
from dualselect.runs.rows import check_evaluation, read_run_rows, reference_losses, with_absolute_paths
from dualselect.runs.settings import RunSettings, settings_to_write
from dualselect.runs.summary import RunSummary, summarize
from dualselect.system.lock import ADVICE, folder_lock, held
from dualselect.system.processes import from_main, is_main_process, process_count, train_command, wait_for_all
from dualselect.system.progress import ShortProgress
from dualselect.training.hardware import check_hardware
from dualselect.training.output import OutputTrainer
from dualselect.training.packages import check_packages
from dualselect.training.references import ChooseReferences
from dualselect.training.trainer import DualSelectTrainer


logger = logging.getLogger(__name__)

# Reasons for failed writes: no space, quota, file size, read-only, permission denied, I/O error.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


class RunMethod(Protocol):
    """What a run needs to know about a fine-tuning method other than DualSelect; see methods/.

    Attributes:
        needs_pool: Whether it requires a reference pool.
    """

    @property
    def needs_pool(self) -> bool: ...  # noqa: D102

    def facts(self) -> dict[str, Any]:
        """Facts about the method for config.yaml: `name`, `settings`, and the `command` that repeats the run."""


BuildTrainer = Callable[[RunSettings, Mapping[str, SourceRows], PreTrainedModel, PreTrainedTokenizerBase], SFTTrainer]
"""Builds the trainer from the settings, the rows by role, the model before any adapter, and its tokenizer."""


def train_run(
    settings: RunSettings,
    record: Mapping[str, Any] | None = None,
    *,
    method: RunMethod | None = None,
    build_trainer: BuildTrainer | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> RunSummary:
    """Train one run and write its run directory.

    Nothing is written before the output directory, the data, the model and their compatibility have been checked.
    Summaries of the inputs, and progress, go to `logging`.

    Args:
        settings: The settings.
        record: Record of the run whose config.yaml contains the settings; its data must not have changed.
        method: Another fine-tuning method; None for DualSelect.
        build_trainer: Builds the trainer of `method`; None for `dualselect_trainer`.
        callbacks: Additional trainer callbacks.

    Returns:
        A summary; `interrupted_by` is set if a signal ended the run, which can then be resumed.

    Raises:
        DualSelectError: Settings, data, model or checkpoint cannot be used. The message says what to change.
        OSError: The run directory cannot be written, or the disk is full.
    """
    refuse_other_method(record, method)
    check_evaluation(settings)
    check_hardware(settings.training, several_processes=method is None)
    check_packages(settings.training)
    check_model(settings.model)
    settings = with_absolute_paths(settings)
    directory = RunDirectory(settings.training.output_dir or ".")
    with folder_lock(directory.path):
        claimed = from_main(lambda: _claimed(directory, settings))
        if claimed.done:
            return summarize(directory, planned_steps=None, seconds=0)
        return _run(directory, claimed, settings, record, method, build_trainer or dualselect_trainer, callbacks)


def _claimed(directory: RunDirectory, settings: RunSettings) -> Claim:
    claimed = claim(directory, settings)
    if claimed.overwrite:
        check_overwrite(directory)
    return claimed


def _run(
    directory: RunDirectory,
    claimed: Claim,
    settings: RunSettings,
    record: Mapping[str, Any] | None,
    method: RunMethod | None,
    build_trainer: BuildTrainer,
    callbacks: Sequence[TrainerCallback],
) -> RunSummary:
    written = settings_to_write(settings)
    checkpoint = claimed.checkpoint
    if checkpoint is not None:
        record = record_of_same_run(directory, written, processes=process_count())
    rows = read_run_rows(settings, with_pool=method is None or method.needs_pool or bool(settings.data.reference_data))
    data = {role: {"sources": found.sources} | data_record(found.dataset, found.files) for role, found in rows.items()}
    if record is not None:
        check_data(record.get("data", {}), data, allow_changed=settings.data.allow_changed_data)
    model, tokenizer = load_run_model(settings)
    fix_date(tokenizer, record)
    made_with = run_record(settings, data, model, tokenizer) | ({"method": method.facts()} if method else {})
    if record is not None:
        warn_of_differences(record, made_with, with_model=checkpoint is None)
    log_plan(settings, rows, method.facts()["name"] if method else None)
    if checkpoint is not None and record is not None:
        made_with = check_weights(record, made_with, allow_changed=settings.data.allow_changed_model)

    def begin() -> None:
        if claimed.overwrite:
            directory.clear()
        write_config(directory.config, written, made_with)

    with explain_refusals():
        # the adapter is initialized before transformers' Trainer sets the seed
        set_seed(settings.training.seed)
        trainer = build_trainer(settings, rows, model, tokenizer)
    _describe_for_card(trainer, settings, method)
    for callback in (_Beginning(begin), MetricsLog(directory.metrics), *callbacks):
        trainer.add_callback(callback)
    if not settings.training.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(ShortProgress)
    return _train(trainer, directory, checkpoint)


def _describe_for_card(trainer: SFTTrainer, settings: RunSettings, method: RunMethod | None) -> None:
    """Set the facts for the model card that the trainer does not know."""
    if isinstance(trainer, OutputTrainer):
        data = settings.data
        trainer.card_base = settings.model.model_name_or_path
        trainer.card_sources = {"task data": data.task_data, "reference data": data.reference_data}
        trainer.card_command = (
            f"{train_command()} --config config.yaml" if method is None else method.facts()["command"]
        )


class _Beginning(TrainerCallback):
    """Start writing only once the trainer has accepted everything."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self.begin = begin

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        from_main(self.begin)


def _train(trainer: SFTTrainer, directory: RunDirectory, checkpoint: Path | None) -> RunSummary:
    started = time.monotonic()
    with explain_full_disk(directory), Interruption() as interruption:
        trainer.add_callback(interruption)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        planned = trainer.state.max_steps
        finished = trainer.state.global_step >= planned
        if finished and is_main_process():
            directory.save_adapter(trainer.save_model)
        wait_for_all()
    return summarize(
        directory,
        planned_steps=planned,
        seconds=time.monotonic() - started,
        interrupted_by=None if finished else interruption.received,
    )


def check_overwrite(directory: RunDirectory) -> None:
    """Refuse to delete a run that `dualselect evaluate` is writing to, or a user's config file."""
    if directory.config.exists() and RECORD_KEY not in directory.config.read_text(encoding="utf-8", errors="replace"):
        raise ConfigError(
            f"overwrite: {directory.config} was not written by a run: move it away, or choose another --output_dir"
        )
    if locks := held(directory.path / EVALUATION):
        raise ResumeError(
            f"overwrite: {directory.path} contains a run that is being evaluated ({locks[0].parent}): {ADVICE}"
        )


def fix_date(tokenizer: PreTrainedTokenizerBase, record: Mapping[str, Any] | None) -> None:
    """Render every row with the same date if the chat template prints today's date."""
    if not uses_date(tokenizer):
        return
    recorded = (record or {}).get("template_date")
    fixed_date(tokenizer, str(recorded or date.today().isoformat()))
    logger.info(
        "the chat template prints the date: %s, %s",
        date_of(tokenizer),
        "as recorded in config.yaml" if recorded else "recorded in config.yaml for resuming",
    )


def refuse_other_method(record: Mapping[str, Any] | None, method: RunMethod | None) -> None:
    """Refuse to repeat a run of another method as a DualSelect run.

    Args:
        record: Record of the run whose config.yaml contains the settings; None without one.
        method: Another fine-tuning method; None for DualSelect.

    Raises:
        ConfigError: The record is from a run of another method.
    """
    recorded = (record or {}).get("method", {})
    if method is None and recorded.get("command", "dualselect train") != "dualselect train":
        raise ConfigError(
            f"this config.yaml is from a run of {recorded.get('name')}, but dualselect train uses DualSelect. Repeat "
            "the run with dualselect compare, or delete the dualselect_run section of the file to train on this data "
            "with DualSelect."
        )


def dualselect_trainer(
    settings: RunSettings,
    rows: Mapping[str, SourceRows],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    choose_references: ChooseReferences | None = None,
) -> DualSelectTrainer:
    """The trainer of a DualSelect run.

    Args:
        settings: The settings.
        rows: `task_data` and `reference_data`, and `eval_data` and `harmless_data` if there are any.
        model: The model before any adapter.
        tokenizer: Its tokenizer.
        choose_references: As for `DualSelectTrainer`.
    """
    model, peft_config = adapted(model, settings)
    return DualSelectTrainer(
        model,
        settings.training,
        train_dataset=rows["task_data"].dataset,
        reference_dataset=rows["reference_data"].dataset,
        reference_losses=reference_losses(settings.data.reference_losses),
        harmless_dataset=rows["harmless_data"].dataset if "harmless_data" in rows else None,
        eval_dataset=rows["eval_data"].dataset if "eval_data" in rows else None,
        choose_references=choose_references,
        processing_class=tokenizer,
        peft_config=peft_config,
    )


@contextmanager
def explain_refusals() -> Iterator[None]:
    """Turn a ValueError from TRL or PEFT into a ConfigError that names its source."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, DualSelectError):
            raise
        raise ConfigError(f"TRL or PEFT rejected these settings: {error}; change the setting named there") from error


@contextmanager
def explain_full_disk(directory: RunDirectory) -> Iterator[None]:
    """Turn failed writes by torch, safetensors and tokenizers into an OSError."""

    def advice() -> str:
        # before config.yaml is written there is no run to continue
        again = f"continue with: {train_command()} --config {directory.config} --resume auto"
        return f"Free disk space, then {again if directory.config.exists() else 'type the same command again'}"

    try:
        yield
    except DualSelectError:
        raise
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise OSError(f"{directory.path} could not be written: {error}. {advice()}") from error
    except Exception as error:
        text = str(error)
        if not isinstance(error, SafetensorError) and "os error" not in text and "PytorchStreamWriter" not in text:
            raise
        raise OSError(f"{directory.path} could not be written: {text.splitlines()[0]}. {advice()}") from error
