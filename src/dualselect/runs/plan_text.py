"""Log lines that describe a run before it starts."""

import logging
from collections.abc import Mapping

from dualselect.data.source_rows import SourceRows
from dualselect.runs.settings import LoraModelConfig, RunSettings
from dualselect.system.processes import process_count
from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)


def log_plan(settings: RunSettings, rows: Mapping[str, SourceRows], method: str | None) -> None:
    """Log model, method and length of a run.

    Args:
        settings: The settings.
        rows: The rows by role.
        method: Name of another method; None for DualSelect.
    """
    training, model = settings.training, settings.model
    length = f"{training.max_steps} steps" if training.max_steps > 0 else f"{training.num_train_epochs:g} epochs"
    logger.info("model: %s, %s, %s", model.model_name_or_path, model.dtype, _trained_part(model))
    logger.info("method: %s", _dualselect_plan(training, rows) if method is None else method)
    logger.info(
        "training: %s of %d rows%s, learning rate %g, seed %d, into %s",
        length,
        training.per_device_train_batch_size * training.gradient_accumulation_steps * process_count(),
        f" on {process_count()} processes" if process_count() > 1 else "",
        training.learning_rate,
        training.seed,
        training.output_dir,
    )


def _trained_part(model: LoraModelConfig) -> str:
    targets = model.lora_target_modules
    named = ", ".join(targets) if isinstance(targets, list) else targets
    merged = f"after merging {len(model.merged_adapters)} adapters, " if model.merged_adapters else ""
    if model.start_adapter:
        return f"{merged}the adapter in {model.start_adapter} is continued"
    return f"{merged}LoRA rank {model.lora_r} on {named}" if model.use_peft else f"{merged}all weights of {named}"


def _dualselect_plan(training: DualSelectConfig, rows: Mapping[str, SourceRows]) -> str:
    budget = f"top {training.task_top_k}" if training.task_top_k else f"token budget {training.task_token_budget}"
    kept = f"top {training.reference_top_k}" if training.reference_top_k else f"{training.reference_fraction:.0%}"
    rho = training.rho if training.fixed_rho is None else f"{training.fixed_rho:g}"
    return (
        f"{kept} of {len(rows['reference_data'].dataset)} references by {training.preservation_loss}, "
        f"{training.selection_mode} selection of {len(rows['task_data'].dataset)} task rows with {budget}, "
        f"correction {training.correction} with rho {rho}"
    )
