"""One run from its settings: read the rows, load the model, train, leave a run directory."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from trl import get_peft_config, get_quantization_config

from dualselect.config_file import write_config
from dualselect.data import LoadedRows, load_rows
from dualselect.errors import ConfigError, DataError
from dualselect.interruption import Interruption
from dualselect.metrics_log import MetricsLog
from dualselect.models import load_model
from dualselect.run_directory import RunDirectory
from dualselect.run_record import check_data, data_record, run_record, warn_of_differences
from dualselect.settings import RunSettings, settings_to_write
from dualselect.trainer import DualSelectTrainer


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run: Its directory.
        finished: False when it was interrupted; it can be resumed then.
        steps: Optimizer steps done.
        seconds: Time that training took in this call.
        dropped: For each kind of task row how many times it was dropped and seen; empty without kinds.
    """

    run: RunDirectory
    finished: bool
    steps: int
    seconds: float
    dropped: dict[str, tuple[int, int]]


def train_run(
    settings: RunSettings, record: dict[str, Any] | None = None, callbacks: Sequence[TrainerCallback] = ()
) -> Outcome:
    """Train one run into its directory.

    Args:
        settings: The settings; `settings.training.output_dir` is the run directory.
        record: What the run was made with whose config.yaml is repeated; its data must be the same.
        callbacks: More callbacks for the trainer.

    Raises:
        ConfigError: The directory is in use, or settings are missing or cannot be used.
        DataError: Data that cannot be used, or that changed since the run that is repeated.
        ModelError: The model cannot be loaded.
        ResumeError: There is nothing to resume, or it is another run.
        OSError: The directory cannot be written.
    """
    run = RunDirectory(settings.training.output_dir)
    checkpoint = _prepare_directory(run, settings)
    task, references = (
        _rows(settings.data.task_data, "task_data"),
        _rows(settings.data.reference_data, "reference_data"),
    )
    data = {
        "task": _record_of(task, settings.data.task_data),
        "reference": _record_of(references, settings.data.reference_data),
    }
    if record is not None:
        check_data(record.get("data", {}), data, allow_changed=settings.data.allow_changed_data)
    model, tokenizer = load_model(
        settings.model.model_name_or_path,
        dtype=settings.model.dtype,
        revision=settings.model.model_revision,
        quantization_config=get_quantization_config(settings.model),
        trust_remote_code=settings.model.trust_remote_code,
        attn_implementation=settings.model.attn_implementation,
    )
    made_with = run_record(settings, data, model, tokenizer)
    if record is not None:
        warn_of_differences(record, made_with)
    interruption = Interruption()
    trainer = DualSelectTrainer(
        model,
        settings.training,
        train_dataset=task.dataset,
        reference_dataset=references.dataset,
        processing_class=tokenizer,
        peft_config=get_peft_config(settings.model),
        callbacks=[MetricsLog(run.metrics), interruption, *callbacks],
    )
    if settings.data.overwrite:
        run.clear()
    if checkpoint is None:
        write_config(run.config, settings_to_write(_with_absolute_paths(settings)), made_with)
    start = time.monotonic()
    with interruption:
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finished = interruption.received is None or trainer.state.global_step >= trainer.state.max_steps
    if finished:
        run.save_adapter(trainer.save_model)
    return Outcome(run, finished, trainer.state.global_step, time.monotonic() - start, _dropped(trainer))


def _prepare_directory(run: RunDirectory, settings: RunSettings) -> Path | None:
    if settings.data.resume and settings.data.overwrite:
        raise ConfigError(
            "resume and overwrite are both set: the one continues the run, the other deletes it; drop one"
        )
    if settings.data.resume:
        found = run.checkpoint_to_resume()
        for folder in found.incomplete:
            logger.warning("%s was cut off while it was written and is passed over", folder.name)
        logger.info("resuming from %s", found.newest)
        run.check_writable()
        return found.newest
    if not settings.data.overwrite:
        run.check_unused()
    run.check_writable()
    return None


def _rows(sources: list[str], setting: str) -> LoadedRows:
    if not sources:
        raise ConfigError(f"{setting} is missing: write --{setting} with a file, a folder, a hub name or `builtin`")
    try:
        rows = load_rows(sources)
    except DataError as error:
        raise DataError(f"{setting}: {error}") from error
    logger.info("%s", rows.report.describe())
    return rows


def _record_of(rows: LoadedRows, sources: list[str]) -> dict[str, Any]:
    return data_record(rows.dataset, rows.report.files) | {"sources": [_absolute(source) for source in sources]}


def _with_absolute_paths(settings: RunSettings) -> RunSettings:
    data = type(settings.data)(
        **{
            **vars(settings.data),
            "task_data": [_absolute(source) for source in settings.data.task_data],
            "reference_data": [_absolute(source) for source in settings.data.reference_data],
        }
    )
    return RunSettings(data, settings.training, settings.model)


def _absolute(source: str) -> str:
    """A source whose path works from anywhere; hub names and built-in data stay."""
    name = source.split("#")[0].split("[")[0]
    return str(Path(name).absolute()) + source[len(name) :] if Path(name).exists() else source


def _dropped(trainer: DualSelectTrainer) -> dict[str, tuple[int, int]]:
    seen: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for line in trainer.selection_log.read():
        if line["event"] == "step":
            for kind, kept in zip(line.get("kinds", []), line["kept"], strict=False):
                seen[kind] += 1
                dropped[kind] += not kept
    return {kind or "no kind": (dropped[kind], seen[kind]) for kind in sorted(seen)}
