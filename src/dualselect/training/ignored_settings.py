"""Training settings that the plain steps of an audit or a diagnostic ignore. Each one gives a warning."""

import logging
from collections.abc import Callable, Mapping

from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)

IgnoredSettings = Mapping[str, tuple[Callable[[DualSelectConfig], bool], str]]
"""For each setting: whether its value would have an effect, and what happens instead."""

IGNORED_BY_PLAIN_STEPS: IgnoredSettings = {
    "optim": (lambda config: "adamw" not in config.optim, "every update is a step of AdamW"),
    "lr_scheduler_type": (
        lambda config: config.lr_scheduler_type not in ("constant", "constant_with_warmup"),
        "learning_rate is constant",
    ),
    # in transformers, a constant schedule has no warm-up either
    "warmup_steps": (
        lambda config: config.warmup_steps > 0 and config.lr_scheduler_type != "constant",
        "learning_rate is constant",
    ),
    "padding_free": (lambda config: config.padding_free, "batches are padded"),
    "packing": (lambda config: config.packing, "batches are padded"),
}
"""Ignored by AdamW steps at a constant learning rate on padded batches."""


def warn_ignored(config: DualSelectConfig, settings: IgnoredSettings, by: str) -> None:
    """Warn about each ignored setting whose value would have an effect.

    Args:
        config: Training settings.
        settings: The ignored settings.
        by: The task that ignores them, such as `an audit`.
    """
    for name, (matters, instead) in settings.items():
        if matters(config):
            value = getattr(config, name)
            value = getattr(value, "value", value)  # of an enum
            logger.warning("%s: %s is ignored by %s: %s", name, value, by, instead)
