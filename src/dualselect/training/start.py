"""Checks and messages at the start of a run: default settings, kind of model, warm-up."""

import logging
from typing import Any

from trl.trainer.utils import get_config_model_id

from dualselect.errors import ConfigError, ModelError
from dualselect.training.config import DEFAULT_WARMUP_STEPS, DualSelectConfig


logger = logging.getLogger(__name__)


def default_config(model: Any) -> DualSelectConfig:
    """Default settings, with an output folder named after the model, which is a name, a folder or a model."""
    name = model if isinstance(model, str) else get_config_model_id(model.config)
    return DualSelectConfig(f"{name.split('/')[-1]}-DualSelect")


def check_dense_text_model(model: Any, *, is_moe: bool, is_vlm: bool) -> None:
    """Reject mixture-of-experts models, whose experts process tokens from mixed examples, and vision-language models.

    Raises:
        ModelError: The model is of one of these kinds.
    """
    if is_moe or is_vlm:
        kind = "a vision-language model" if is_vlm else "a mixture of experts"
        raise ModelError(f"{type(model).__name__} is {kind}: only dense text models are supported")


def check_warmup(config: DualSelectConfig, steps: int) -> None:
    """Reject a warm-up that leaves no selection step, and log when the default is shortened.

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
            "Lower selection_warmup_steps, leave it out, or train for more steps."
        )
    if config.selection_warmup_steps is None and warmup < DEFAULT_WARMUP_STEPS:
        logger.info("the run has %d optimizer steps: selection starts after %d warm-up steps", steps, warmup)
