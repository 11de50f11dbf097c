"""May a run start or go on in a directory: nothing is overwritten unasked, and only the same run is resumed."""

import logging
from pathlib import Path
from typing import Any

from dualselect.errors import ConfigError, ResumeError
from dualselect.runs.config_file import read_config
from dualselect.runs.directory import RunDirectory, is_complete
from dualselect.runs.settings import RunSettings, typed_value


logger = logging.getLogger(__name__)

# A resumed run may be longer, and may save and tell at other times; the update of a step depends on none of these.
CHANGEABLE_ON_RESUME = set(
    "max_steps num_train_epochs save_strategy save_steps save_total_limit logging_strategy logging_steps "
    "logging_first_step report_to disable_tqdm dataloader_num_workers dataloader_pin_memory".split()
)
# ... unless the learning rate does.
LENGTH = {"max_steps", "num_train_epochs"}


def claim(directory: RunDirectory, settings: RunSettings) -> Path | None:
    """Make sure that a run may start or go on in its directory.

    Returns:
        The checkpoint to go on from; None for a new run.

    Raises:
        ConfigError: The directory holds a run and nothing is said about it, or two things that exclude each other.
        ResumeError: There is nothing to resume.
        OSError: The directory cannot be written.
    """
    named = settings.training.resume_from_checkpoint
    if settings.data.overwrite and (settings.data.resume or named):
        raise ConfigError("resume and overwrite are both given: one continues the run, the other deletes it; drop one")
    if not settings.data.resume and not named:
        if not settings.data.overwrite:
            directory.check_unused()
        directory.check_writable()
        return None
    found = directory.checkpoint_to_resume()
    for folder in found.incomplete:
        logger.warning("%s was cut off while it was written; it is passed over", folder)
    newest = Path(named).absolute() if named else found.newest
    if named and (newest is None or newest.parent != directory.path or not is_complete(newest)):
        raise ResumeError(
            f"resume_from_checkpoint {named} is not a complete checkpoint of output_dir {directory.path}. Write "
            f"--resume, which takes the newest ({found.newest}), or name another one of this folder."
        )
    directory.check_writable()
    logger.info("continuing from %s", newest)
    return newest


def record_of_same_run(directory: RunDirectory, written: dict[str, Any]) -> dict[str, Any] | None:
    """What the run in a directory was made with, after a comparison of its settings.

    Args:
        directory: The run to resume.
        written: The settings now, as they would be written.

    Raises:
        ResumeError: Settings differ that a resumed run must share; the message names them.
    """
    before = read_config(directory.config)
    now = {name: typed_value(name, value, "settings") for name, value in written.items()}
    changeable = set(CHANGEABLE_ON_RESUME)
    if not now["lr_scheduler_type"].startswith("constant"):
        changeable -= LENGTH
    ignored = changeable | {"output_dir"}
    names = [name for name in before.settings | now if name not in ignored]
    other = [name for name in names if before.settings.get(name) != now.get(name)]
    if other:
        told = ", ".join(f"{name} {before.settings.get(name)!r} then, {now.get(name)!r} now" for name in other[:3])
        raise ResumeError(
            f"resume: the run in {directory.path} was started with other settings ({told}"
            f"{', ...' if other[3:] else ''}), and a resumed run must be the same run. Continue it with: dualselect "
            f"train --config {directory.config} --resume. Or start anew in another --output_dir."
        )
    return before.record
