"""One run from its settings: everything checked first, then trained, saved, and told."""

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from safetensors import SafetensorError
from torch import nn
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
from trl import SFTTrainer, get_peft_config

from dualselect.data import check_overlap
from dualselect.data.source_rows import SourceRows, absolute_source, check_columns, mapped_sources, read_sources
from dualselect.errors import ConfigError, DualSelectError
from dualselect.models import load_model
from dualselect.models.precision import quantization_of
from dualselect.runs.config_file import write_config
from dualselect.runs.directory import RunDirectory
from dualselect.runs.interruption import Interruption
from dualselect.runs.metrics_log import MetricsLog
from dualselect.runs.record import check_data, data_record, run_record, warn_of_differences
from dualselect.runs.resuming import claim, record_of_same_run
from dualselect.runs.settings import RunSettings, settings_to_write
from dualselect.runs.summary import RunSummary, summarize
from dualselect.system.progress import ShortProgress
from dualselect.training.config import DualSelectConfig
from dualselect.training.references import ChooseReferences
from dualselect.training.trainer import DualSelectTrainer


logger = logging.getLogger(__name__)

# What the system answers when a write fails: no space, quota, file size, read-only, no right, broken device.
WRITE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO}


class RunMethod(Protocol):
    """What a run needs to know of a way to fine-tune; those beside DualSelect stand in methods/.

    Attributes:
        needs_pool: Whether it can do nothing without a reference pool.
    """

    @property
    def needs_pool(self) -> bool: ...  # noqa: D102

    def facts(self) -> dict[str, Any]:
        """What config.yaml says of it: `name`, `settings`, and the `command` that repeats the run."""


BuildTrainer = Callable[[RunSettings, Mapping[str, SourceRows], PreTrainedModel, PreTrainedTokenizerBase], SFTTrainer]
"""From the settings, the rows by role, the model before any adapter and its tokenizer to the trainer of a run."""


def train_run(
    settings: RunSettings,
    record: Mapping[str, Any] | None = None,
    *,
    method: RunMethod | None = None,
    build_trainer: BuildTrainer | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> RunSummary:
    """Train one run and leave its run directory.

    Nothing is written before the output directory, the data, the model and their fit have been checked. What was read
    and what happens is told through `logging`.

    Args:
        settings: The settings.
        record: Of the run whose config.yaml the settings came from; its data must not have changed.
        method: Another way to fine-tune; None for DualSelect as the settings say.
        build_trainer: Builds the trainer of `method`; None for `dualselect_trainer`.
        callbacks: Added to those of the run.

    Returns:
        What the run did; `interrupted_by` is set when a signal ended it, and the directory can then be resumed.

    Raises:
        DualSelectError: Settings, data, model or checkpoint cannot be used; the message says what to change.
        OSError: The run directory cannot be written, or the disk is full.
    """
    _refuse_other_method(record, method)
    settings = _from_anywhere(settings)
    directory = RunDirectory(settings.training.output_dir or ".")
    written = settings_to_write(settings)
    checkpoint = claim(directory, settings)
    if checkpoint is not None:
        record = record_of_same_run(directory, written)
    rows = _rows(settings, with_pool=method is None or method.needs_pool or bool(settings.data.reference_data))
    data = {role: {"sources": found.sources} | data_record(found.dataset, found.files) for role, found in rows.items()}
    if record is not None:
        check_data(record.get("data", {}), data, allow_changed=settings.data.allow_changed_data)
    model, tokenizer = load_run_model(settings)
    made_with = run_record(settings, data, model, tokenizer) | ({"method": method.facts()} if method else {})
    if record is not None:
        warn_of_differences(record, made_with)
    _tell(settings, rows, method)
    if checkpoint is not None and record is not None:
        made_with = dict(record)

    def begin() -> None:
        if settings.data.overwrite:
            directory.clear()
        write_config(directory.config, written, made_with)

    with directory.removed_when_left_empty():
        with _refusals_told():
            # The adapter is drawn before the trainer of transformers sets its seed.
            set_seed(settings.training.seed)
            trainer = (build_trainer or dualselect_trainer)(settings, rows, model, tokenizer)
        for callback in (_Beginning(begin), MetricsLog(directory.metrics), *callbacks):
            trainer.add_callback(callback)
        if not settings.training.disable_tqdm:
            trainer.remove_callback(ProgressCallback)
            trainer.add_callback(ShortProgress)
        return _train(trainer, directory, checkpoint)


class _Beginning(TrainerCallback):
    """Writing starts when the trainer has accepted everything, and not before."""

    def __init__(self, begin: Callable[[], None]) -> None:
        self.begin = begin

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.begin()


def _train(trainer: SFTTrainer, directory: RunDirectory, checkpoint: Path | None) -> RunSummary:
    started = time.monotonic()
    with _full_disk_told(directory), Interruption() as interruption:
        trainer.add_callback(interruption)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint is not None else None)
        planned = trainer.state.max_steps
        finished = trainer.state.global_step >= planned
        if finished:
            directory.save_adapter(trainer.save_model)
    return summarize(
        directory,
        planned_steps=planned,
        seconds=time.monotonic() - started,
        interrupted_by=None if finished else interruption.received,
    )


def _refuse_other_method(record: Mapping[str, Any] | None, method: RunMethod | None) -> None:
    recorded = (record or {}).get("method", {})
    if method is None and recorded.get("command", "dualselect train") != "dualselect train":
        raise ConfigError(
            f"this config.yaml is of a run by {recorded.get('name')}, and dualselect train would train by DualSelect. "
            "Repeat it with dualselect compare, or delete what the file says of the run (dualselect_run) to train "
            "these data by DualSelect."
        )


def _rows(settings: RunSettings, *, with_pool: bool) -> dict[str, SourceRows]:
    roles = ("task_data", "reference_data") if with_pool else ("task_data",)
    limit = settings.data.max_row_bytes
    rows = {role: read_sources(getattr(settings.data, role), role, max_row_bytes=limit) for role in roles}
    check_columns(rows)
    for role, found in rows.items():
        for line in found.told:
            logger.info("%s: %s", role, line)
    # The trainer would find it too, after the model has been loaded.
    if with_pool:
        allowed = settings.training.allow_prompt_overlap
        check_overlap(rows["task_data"].dataset, rows["reference_data"].dataset, allow=allowed)
    return rows


def _from_anywhere(settings: RunSettings) -> RunSettings:
    """The settings with paths that mean the same from every folder."""
    columns = settings.data.columns
    data = replace(
        settings.data,
        task_data=[absolute_source(one) for one in mapped_sources(settings.data.task_data, columns)],
        reference_data=[absolute_source(one) for one in mapped_sources(settings.data.reference_data, columns)],
        columns=None,  # it stands behind each source now
    )
    name = settings.model.model_name_or_path
    local = Path(name).expanduser()
    model = replace(settings.model, model_name_or_path=str(local.absolute()) if local.exists() else name)
    return RunSettings(data, settings.training, model)


def load_run_model(settings: RunSettings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and tokenizer that a run starts from, with the end token and the template file of its settings.

    Raises:
        ConfigError: The model has no linear layer that `lora_target_modules` names, or no token `eos_token`.
        ModelError: The model cannot be loaded.
    """
    model, tokenizer = load_model(
        settings.model.model_name_or_path,
        dtype=settings.model.dtype,
        revision=settings.model.model_revision,
        quantization_config=quantization_of(settings.model),
        trust_remote_code=settings.training.trust_remote_code,
        attn_implementation=settings.model.attn_implementation,
    )
    targets = settings.model.lora_target_modules
    linear = {name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    missing = [
        target
        for target in (targets if isinstance(targets, list) else [])
        if not any(name == target or name.endswith(f".{target}") for name in linear)
    ]
    if missing:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise ConfigError(
            f"lora_target_modules: {', '.join(missing)} is no linear layer of {settings.model.model_name_or_path}; it "
            f"has {there}. Write some of these, or all-linear."
        )
    _set_text(tokenizer, settings)
    return model, tokenizer


def is_template_file(path: str) -> bool:
    """Whether `chat_template_path` is a template itself, and not a model whose tokenizer has one."""
    return Path(path).is_file() and path.endswith((".jinja", ".j2"))


def _set_text(tokenizer: PreTrainedTokenizerBase, settings: RunSettings) -> None:
    """Set what decides the text of a row, before anything is tokenized; TRL's trainer sets it once more, and later."""
    end, path = settings.training.eos_token, settings.training.chat_template_path
    if end is not None:
        if end not in tokenizer.get_vocab():
            raise ConfigError(
                f"eos_token: {end!r} is not in the vocabulary of {settings.model.model_name_or_path}; name a token "
                f"that is, or leave it out for {tokenizer.eos_token!r}"
            )
        tokenizer.eos_token = end
    if path is not None and is_template_file(path):
        tokenizer.chat_template = Path(path).read_text(encoding="utf-8")


def dualselect_trainer(
    settings: RunSettings,
    rows: Mapping[str, SourceRows],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    choose_references: ChooseReferences | None = None,
) -> DualSelectTrainer:
    """The trainer of a run by DualSelect.

    Args:
        settings: The settings.
        rows: `task_data` and `reference_data`.
        model: The model before any adapter.
        tokenizer: Its tokenizer.
        choose_references: As for `DualSelectTrainer`.
    """
    return DualSelectTrainer(
        model,
        settings.training,
        train_dataset=rows["task_data"].dataset,
        reference_dataset=rows["reference_data"].dataset,
        choose_references=choose_references,
        processing_class=tokenizer,
        peft_config=get_peft_config(settings.model),
    )


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if isinstance(error, DualSelectError):
            raise
        raise ConfigError(f"these settings were refused by TRL or PEFT: {error}; change the one named") from error


def _tell(settings: RunSettings, rows: Mapping[str, SourceRows], method: RunMethod | None) -> None:
    training, model = settings.training, settings.model
    targets = model.lora_target_modules
    named = ", ".join(targets) if isinstance(targets, list) else targets
    length = f"{training.max_steps} steps" if training.max_steps > 0 else f"{training.num_train_epochs:g} epochs"
    logger.info("model: %s, %s, LoRA rank %d on %s", model.model_name_or_path, model.dtype, model.lora_r, named)
    logger.info("method: %s", _dualselect_told(training, rows) if method is None else method.facts()["name"])
    logger.info(
        "training: %s of %d rows, learning rate %g, seed %d, into %s",
        length,
        training.per_device_train_batch_size * training.gradient_accumulation_steps,
        training.learning_rate,
        training.seed,
        training.output_dir,
    )


def _dualselect_told(training: DualSelectConfig, rows: Mapping[str, SourceRows]) -> str:
    budget = f"top {training.task_top_k}" if training.task_top_k else f"token budget {training.task_token_budget}"
    kept = f"top {training.reference_top_k}" if training.reference_top_k else f"{training.reference_fraction:.0%}"
    return (
        f"{kept} of {len(rows['reference_data'].dataset)} references by {training.preservation_loss}, "
        f"{training.selection_mode} selection of {len(rows['task_data'].dataset)} task rows with {budget}, "
        f"correction {training.correction} with rho {training.rho:g}"
    )


@contextmanager
def _full_disk_told(directory: RunDirectory) -> Iterator[None]:
    """Failed writes of torch, safetensors and tokenizers, which are no OSError, told as what they are."""
    advice = f"Make room, then continue with: dualselect train --config {directory.config} --resume"
    try:
        yield
    except DualSelectError:
        raise
    except OSError as error:
        if error.errno not in WRITE_ERRORS:
            raise
        raise OSError(f"{directory.path} could not be written: {error}. {advice}") from error
    except Exception as error:
        text = str(error)
        if not isinstance(error, SafetensorError) and "os error" not in text and "PytorchStreamWriter" not in text:
            raise
        raise OSError(f"{directory.path} could not be written: {text.splitlines()[0]}. {advice}") from error
