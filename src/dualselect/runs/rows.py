"""The rows of a run by role: task data, reference pool, held-out data."""

import json
import logging
from dataclasses import replace
from pathlib import Path

from transformers import (
    IntervalStrategy,
)

from dualselect.data.checks import check_overlap, references_apart
from dualselect.data.source_rows import SourceRows, absolute_source, check_columns, mapped_sources, read_sources
from dualselect.errors import ConfigError, DataError
from dualselect.models.earlier_adapters import adapter_folder
from dualselect.runs.audited import with_audit, without_conflicts
from dualselect.runs.settings import RunSettings


logger = logging.getLogger(__name__)


def check_evaluation(settings: RunSettings) -> None:
    """Check that `eval_data` and `eval_strategy` are set together."""
    when = settings.training.eval_strategy
    if settings.data.eval_data and when == IntervalStrategy.NO:
        raise ConfigError(
            f"eval_data {' '.join(settings.data.eval_data)} is never evaluated: write --eval_strategy epoch, or "
            "--eval_strategy steps with --eval_steps, or leave eval_data out"
        )
    if not settings.data.eval_data and when != IntervalStrategy.NO:
        raise ConfigError(
            f"eval_strategy: {when.value} logs the loss of held-out rows, but there are none: set "
            "--eval_data (in Python: eval_dataset), or leave eval_strategy out"
        )


def read_run_rows(settings: RunSettings, *, with_pool: bool) -> dict[str, SourceRows]:
    """Read the rows of each role, log a summary, and leave out references that share a prompt with the task.

    Args:
        settings: The settings.
        with_pool: Whether the run has a reference pool.

    Raises:
        DataError: Rows cannot be read, or too many references share a prompt with the task.
    """
    roles = ["task_data"]
    roles += ["reference_data"] if with_pool else []
    roles += [role for role in ("harmless_data", "eval_data") if getattr(settings.data, role)]
    limit = settings.data.max_row_bytes
    rows = {role: read_sources(getattr(settings.data, role), role, max_row_bytes=limit) for role in roles}
    check_columns(rows)
    if settings.data.audit is not None:
        rows["task_data"] = without_conflicts(rows["task_data"], Path(settings.data.audit))
    for role, found in rows.items():
        for line in found.notes:
            logger.info("%s: %s", role, line)
    if with_pool:  # the trainer also finds shared prompts, but only after the model is loaded
        training, pool = settings.training, rows["reference_data"]
        apart = references_apart(
            rows["task_data"].dataset,
            pool.dataset,
            allow=training.allow_prompt_overlap,
            most=training.max_shared_references,
        )
        if len(apart) < len(pool.dataset):
            rows["reference_data"] = replace(pool, dataset=pool.dataset.select(apart))
    if "eval_data" in rows:
        for role in roles[:-1]:
            if shared := check_overlap(rows[role].dataset, rows["eval_data"].dataset, allow=True):
                logger.warning(
                    "%d of %d rows of eval_data have a prompt that is also in %s: they are not held out",
                    shared,
                    len(rows["eval_data"].dataset),
                    role,
                )
    return rows


def reference_losses(path: str | None) -> dict[str, float]:
    """The losses of references by row id; empty without a file.

    Raises:
        DataError: The file is not a JSON object of numbers.
    """
    if path is None:
        return {}
    try:
        found = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        return {str(name): float(value) for name, value in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"reference_losses: {path} is not a JSON object of losses by row id ({error})") from error


def with_absolute_paths(settings: RunSettings) -> RunSettings:
    """The settings with absolute paths, and without a filter of their own if they follow an audit."""
    data, columns = settings.data, settings.data.columns
    data = replace(
        data,
        task_data=[absolute_source(source) for source in mapped_sources(data.task_data, columns)],
        reference_data=[absolute_source(source) for source in mapped_sources(data.reference_data, columns)],
        eval_data=[absolute_source(source) for source in mapped_sources(data.eval_data, columns)],
        harmless_data=[absolute_source(source) for source in mapped_sources(data.harmless_data, columns)],
        audit=_absolute(data.audit),
        reference_losses=_absolute(data.reference_losses),
        columns=None,  # each source now contains its own mapping
    )
    name = settings.model.model_name_or_path
    local = Path(name).expanduser()
    start = settings.model.start_adapter
    model = replace(
        settings.model,
        model_name_or_path=str(local.absolute()) if local.exists() else name,
        start_adapter=None if start is None else str(adapter_folder(start).absolute()),
        merged_adapters=[str(adapter_folder(one).absolute()) for one in settings.model.merged_adapters],
    )
    return with_audit(RunSettings(data, settings.training, model))


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())
