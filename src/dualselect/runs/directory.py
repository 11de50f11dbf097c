"""The run directory: the only interface between training, evaluation, comparison and report.

RUN/
  config.yaml         the settings and the record of the run
  selection.jsonl     the selection of each step
  metrics.jsonl       the logs of the trainer
  adapter/            the final adapter; it exists only if the run is finished
  checkpoint-*/       the states from which an interrupted run can continue
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from dualselect.errors import ConfigError, ResumeError
from dualselect.training.checkpoints import METRICS_LOG as METRICS_LOG
from dualselect.training.checkpoints import SELECTION_LOG, Found, checkpoint_folders, find_checkpoints


CONFIG_FILE = "config.yaml"
ADAPTER = "adapter"
EVALUATION = "evaluation"
REPORT = "report.html"
# Files and folders that a killed run may leave behind: they are renamed when they are complete.
LEFTOVERS = re.compile(
    r"\.adapter-.+|\.probe-.+|\.(config\.yaml|selection\.jsonl|metrics\.jsonl|report\.html)\..+|tmp-checkpoint-\d+"
)
# TRL pickles its arguments next to a model; config.yaml has the same content in readable form.
PICKLED_ARGUMENTS = "training_args.bin"
PROBE_BYTES = 4096


class RunDirectory:
    """One run directory.

    Args:
        path: The folder; it may not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.config = self.path / CONFIG_FILE
        self.metrics = self.path / METRICS_LOG
        self.selection = self.path / SELECTION_LOG
        self.adapter = self.path / ADAPTER

    def check_writable(self) -> None:
        """Check that the folder is writable: write a file, then remove it and every folder created for it.

        Raises:
            OSError: The folder cannot be created or written, or the disk is full. The message says what to change.
        """
        missing = self._missing_folders()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=".probe-", buffering=0) as probe:
                if probe.write(bytes(PROBE_BYTES)) < PROBE_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(probe.fileno())
        except OSError as error:
            raise OSError(
                f"output_dir {self.path} cannot be written: {error.strerror or error}. Free disk space or allow "
                "writing there, or choose another folder with --output_dir."
            ) from error
        finally:
            for folder in missing:
                if folder.is_dir():
                    folder.rmdir()

    def parts(self) -> list[Path]:
        """Existing files and folders of a run, finished or not."""
        named = [self.config, self.selection, self.metrics, self.adapter, self.path / EVALUATION, self.path / REPORT]
        return [part for part in named if part.exists()] + checkpoint_folders(self.path)[::-1]

    def check_unused(self) -> None:
        """Reject a folder that contains a run.

        Raises:
            ConfigError: It contains a run. The message says what to type to continue, replace or keep it.
        """
        parts = self.parts()
        if not parts:
            return
        state = "a finished run" if self.adapter.exists() else "an interrupted run"
        names = ", ".join(part.name for part in parts[:4]) + (", ..." if len(parts) > 4 else "")
        proceed = "" if self.adapter.exists() else "--resume auto to continue it, "
        raise ConfigError(
            f"output_dir {self.path} contains {state} ({names}). Add {proceed}--overwrite to delete it and start "
            "again, or --output_dir with another folder."
        )

    def clear(self) -> None:
        """Delete the run; other files in the folder are kept."""
        self.remove_leftovers()
        for part in self.parts():
            _delete(part)

    def remove_leftovers(self) -> None:
        """Delete half-written files of a killed run; files with other names are kept."""
        if self.path.is_dir():
            for part in [
                *self.path.iterdir(),
                *(it for found in checkpoint_folders(self.path) for it in found.iterdir()),
            ]:
                if LEFTOVERS.fullmatch(part.name) or re.fullmatch(r"\.dualselect_\w+\.\w+\..+", part.name):
                    _delete(part)

    def checkpoint_to_resume(self) -> Found:
        """The checkpoints of a run that can be continued.

        Raises:
            ResumeError: There is no run, the run is finished, or it has no usable checkpoint.
        """
        if not self.parts():
            raise ResumeError(
                f"resume: output_dir {self.path} contains no run. Check --output_dir, or leave --resume out to start "
                "a new run."
            )
        if self.adapter.exists():
            raise ResumeError(
                f"resume: the run in {self.path} is finished; its adapter is in {self.adapter}. To repeat the run, "
                "leave --resume out and choose another --output_dir, or write --overwrite to replace it."
            )
        found = find_checkpoints(self.path)
        if found.newest is None:
            seen = f" ({'; '.join(f'{it.name}: {reason}' for it, reason in found.damaged)})" if found.damaged else ""
            raise ResumeError(
                f"resume: the run in {self.path} has no checkpoint that can be used{seen}. Write --overwrite instead "
                "of --resume to start again. A smaller --save_steps saves checkpoints earlier."
            )
        return found

    def save_adapter(self, save: Callable[[str], object]) -> None:
        """Save the final adapter atomically: its folder exists only when it is complete.

        Args:
            save: Called with the folder to write into.
        """
        with tempfile.TemporaryDirectory(dir=self.path, prefix=".adapter-") as scratch:
            beside = Path(scratch) / ADAPTER
            save(str(beside))
            (beside / PICKLED_ARGUMENTS).unlink(missing_ok=True)
            for file in beside.iterdir():
                with file.open("rb") as written:
                    os.fsync(written.fileno())
            beside.rename(self.adapter)

    def _missing_folders(self) -> list[Path]:
        return [folder for folder in (self.path, *self.path.parents) if not folder.exists()]


def _delete(part: Path) -> None:
    if part.is_dir() and not part.is_symlink():
        shutil.rmtree(part)
    else:
        part.unlink()
