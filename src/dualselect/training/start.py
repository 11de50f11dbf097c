"""What a run says and refuses before its first step: warm-up, memory of the per-example gradients."""

import logging

from dualselect.errors import ConfigError
from dualselect.training.config import DEFAULT_WARMUP_STEPS, DualSelectConfig


logger = logging.getLogger(__name__)

BYTES_PER_NUMBER = 4
MEBIBYTE = 2**20


def check_warmup(config: DualSelectConfig, steps: int) -> None:
    """Refuse a warm-up that leaves no selection step, and say when the default is shortened.

    Args:
        config: Settings.
        steps: Optimizer steps of the run.

    Raises:
        ConfigError: `selection_warmup_steps` is given and is not below `steps`.
    """
    warmup = config.planned_warmup_steps(steps)
    if config.selection_warmup_steps is not None and warmup >= steps:
        raise ConfigError(
            f"the run has {steps} optimizer steps and selection_warmup_steps is {warmup}: nothing would be selected. "
            "Lower selection_warmup_steps or leave it out, or train for longer."
        )
    if config.selection_warmup_steps is None and warmup < DEFAULT_WARMUP_STEPS:
        logger.info("the run has %d optimizer steps: selection starts after %d warm-up steps", steps, warmup)


def explain_gradient_memory(parameters: int, config: DualSelectConfig) -> None:
    """Log the memory that the per-example gradients of one optimizer step take, and what lowers it.

    Args:
        parameters: Number of trainable parameters, P.
        config: Settings.
    """
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps
    logger.info(
        "per-example gradients of one optimizer step: %d rows x %s parameters x %d bytes = %.1f MiB; fewer rows per "
        "step, a lower LoRA rank or fewer target modules take less",
        rows,
        f"{parameters:,}",
        BYTES_PER_NUMBER,
        rows * parameters * BYTES_PER_NUMBER / MEBIBYTE,
    )
