"""The schedule of the reference refreshes."""

from typing import Literal


def refresh_due(
    schedule: Literal["epoch", "steps", "adaptive"],
    *,
    epochs_since: int | None,
    steps_since: int | None,
    every_steps: int,
    direction_cosine: float | None,
    least_cosine: float,
) -> bool:
    """Whether a refresh is due before this optimizer step.

    Args:
        schedule: `epoch`, at the start of an epoch; `steps`, every `every_steps`; `adaptive`, if `direction_cosine`
            is below `least_cosine` and at least `every_steps` steps have passed.
        epochs_since: Epochs begun since the last refresh; None before the first refresh, which is then due.
        steps_since: Optimizer steps since the last refresh.
        every_steps: 1 or more.
        direction_cosine: Cosine of the task direction since the last refresh with the one at the last refresh, in
            [-1, 1]; None before the first step after a refresh.
        least_cosine: In [-1, 1].
    """
    if epochs_since is None or steps_since is None:
        return True
    if schedule == "epoch":
        return epochs_since > 0
    if steps_since < every_steps:
        return False
    return schedule == "steps" or (direction_cosine is not None and direction_cosine < least_cosine)
