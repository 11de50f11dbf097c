"""Settings of a training that the plain steps of an audit or a diagnostic do not follow, and that this is told."""

import logging
from collections.abc import Callable, Mapping

from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)

NotFollowed = Mapping[str, tuple[Callable[[DualSelectConfig], bool], str]]
"""Settings by name: where one would change something, and what is done instead."""

OF_PLAIN_STEPS: NotFollowed = {
    "optim": (lambda config: "adamw" not in config.optim, "every update is a step of AdamW"),
    "lr_scheduler_type": (
        lambda config: config.lr_scheduler_type not in ("constant", "constant_with_warmup"),
        "learning_rate is constant",
    ),
    # transformers has no warm-up either where the schedule is constant
    "warmup_steps": (
        lambda config: config.warmup_steps > 0 and config.lr_scheduler_type != "constant",
        "learning_rate is constant",
    ),
}
"""Of steps of AdamW at a constant learning rate."""


def tell_not_followed(config: DualSelectConfig, settings: NotFollowed, by: str) -> None:
    """Warn of each setting that would change something and is not followed.

    Args:
        config: Settings of the training.
        settings: Those that are not followed.
        by: What does not follow them, such as `an audit`.
    """
    for name, (matters, instead) in settings.items():
        if matters(config):
            value = getattr(config, name)
            value = getattr(value, "value", value)  # of an enum
            logger.warning("%s: %s is not followed by %s: %s", name, value, by, instead)
