"""Decide whether a run may start or resume in a directory.

Nothing is overwritten unless requested, and only the same run is resumed.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.errors import ConfigError, ResumeError
from dualselect.runs.config_file import read_config
from dualselect.runs.directory import RunDirectory
from dualselect.runs.settings import RunSettings, typed_value
from dualselect.system.processes import train_command
from dualselect.training.checkpoints import MANIFEST, check_logs, damage_of, find_checkpoints, warn_of_damaged
from dualselect.training.resume_rule import deciding, differences


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """What a run does in its directory.

    Attributes:
        checkpoint: The checkpoint to resume from; None for a new run.
        done: Whether the run is already finished.
        overwrite: Whether the content of the directory is deleted when training begins.
    """

    checkpoint: Path | None = None
    done: bool = False
    overwrite: bool = False


def claim(directory: RunDirectory, settings: RunSettings) -> Claim:
    """Decide whether a run starts, resumes or is done in its directory, and remove half-written files of a kill.

    Raises:
        ConfigError: The directory contains a run and neither resume nor overwrite is set, or both are set.
        ResumeError: There is nothing to resume, or the checkpoint is damaged.
        OSError: The directory cannot be written.
    """
    decided = decide(directory, settings)
    if not decided.done:
        directory.check_writable()
        directory.remove_leftovers()
    if decided.checkpoint is not None:
        check_logs(decided.checkpoint)
        logger.info("continuing from %s", decided.checkpoint)
    return decided


def decide(directory: RunDirectory, settings: RunSettings) -> Claim:
    """Decide as `claim` does, but change nothing and do not check that the directory can be written.

    Raises:
        ConfigError: The directory contains a run and neither resume nor overwrite is set, or both are set.
        ResumeError: There is nothing to resume, or the checkpoint is damaged.
    """
    named, resume = settings.training.resume_from_checkpoint, settings.data.resume
    if settings.data.overwrite and (resume != "no" or named):
        raise ConfigError("resume and overwrite are both set: one continues the run, the other deletes it; remove one")
    if resume == "auto" and not named:
        return _auto(directory)
    if resume == "no" and not named:
        if not settings.data.overwrite:
            directory.check_unused()
        return Claim(overwrite=settings.data.overwrite)
    return Claim(_checkpoint(directory, str(named) if named else None))


def _auto(directory: RunDirectory) -> Claim:
    """The decision for `resume: auto`: start, resume or done, for any state of the directory."""
    if directory.adapter.exists():
        logger.info("resume: auto: the run in %s is finished; nothing is left to do", directory.path)
        return Claim(done=True)
    if not directory.parts():
        return Claim()
    found = find_checkpoints(directory.path)
    warn_of_damaged(found.damaged)
    if found.newest is not None:
        return Claim(found.newest)
    if lost := [folder.name for folder, _ in found.damaged if (folder / MANIFEST).exists()]:
        reasons = "; ".join(f"{folder.name}: {reason}" for folder, reason in found.damaged)
        raise ResumeError(
            f"resume: auto: the run in {directory.path} has only damaged checkpoints ({reasons}). Restore one of "
            f"{', '.join(lost)}, or write --overwrite instead of --resume auto to delete them and start again."
        )
    logger.warning(
        "resume: auto: the run in %s has no checkpoint that can be used; it restarts from step 1", directory.path
    )
    return Claim(overwrite=True)


def _checkpoint(directory: RunDirectory, named: str | None) -> Path:
    found = directory.checkpoint_to_resume()
    newest = found.newest
    assert newest is not None
    if named is None:
        warn_of_damaged(found.damaged)
        return newest
    folder = Path(named).absolute()
    reason = damage_of(folder) if folder.parent == directory.path and folder.is_dir() else "it is not in this folder"
    if reason is not None:
        raise ResumeError(
            f"resume_from_checkpoint {named} is not an intact checkpoint of output_dir {directory.path}: {reason}. "
            f"Write --resume, which uses the newest ({newest}), or name another checkpoint of this folder."
        )
    return folder


def record_of_same_run(
    directory: RunDirectory, written: dict[str, Any], *, processes: int = 1
) -> dict[str, Any] | None:
    """The record of the run in a directory, after a check of its settings.

    Args:
        directory: The run to resume.
        written: The current settings, as they would be written.
        processes: Current number of processes.

    Raises:
        ResumeError: Settings that must not change on resume are different. The message names them.
    """
    before = read_config(directory.config)
    typed = {name: typed_value(name, value, "settings") for name, value in written.items()}
    recorded = int((before.record or {}).get("processes", 1))
    then, now = deciding(before.settings, processes=recorded), deciding(typed, processes=processes)
    if other := differences(then, now, list(then | now)):
        raise ResumeError(
            f"resume: the run in {directory.path} was started with other settings ({', '.join(other[:3])}"
            f"{', ...' if other[3:] else ''}), but a resumed run must be the same run. Continue it with: "
            f"{train_command(recorded)} --config {directory.config} --resume. Or start a new run in another "
            "--output_dir."
        )
    return before.record
