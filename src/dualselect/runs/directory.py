"""The run directory: the one interface between training, evaluation, comparison and report.

RUN/
  config.yaml         the settings, and what the run was made with
  selection.jsonl     what was chosen, step by step
  metrics.jsonl       what the trainer logged
  adapter/            the final adapter; its presence says that the run is finished
  checkpoint-*/       where an interrupted run continues
"""

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dualselect.errors import ConfigError, ResumeError
from dualselect.training.selection_log import SELECTION_LOG


CONFIG_FILE = "config.yaml"
METRICS_LOG = "metrics.jsonl"
ADAPTER = "adapter"
EVALUATION = "evaluation"
REPORT = "report.html"
# Transformers writes it last, so a checkpoint that has it is complete.
LAST_OF_CHECKPOINT = "trainer_state.json"
# TRL pickles its arguments beside a model; config.yaml says the same, readably.
PICKLED_ARGUMENTS = "training_args.bin"
PROBE_BYTES = 4096


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a run.

    Attributes:
        newest: The complete one with the most steps; None when there is none.
        incomplete: Those whose writing was cut off.
    """

    newest: Path | None
    incomplete: list[Path] = field(default_factory=list)


class RunDirectory:
    """One run directory.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()
        self.config = self.path / CONFIG_FILE
        self.metrics = self.path / METRICS_LOG
        self.selection = self.path / SELECTION_LOG
        self.adapter = self.path / ADAPTER

    def check_writable(self) -> None:
        """Write and remove a file, and every folder made for it.

        Raises:
            OSError: The folder cannot be made or written, or the disk is full; the message says what to change.
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
                f"output_dir {self.path} cannot be written: {error.strerror or error}. Make room or permit writing "
                "there, or choose another folder with --output_dir."
            ) from error
        finally:
            for folder in missing:
                if folder.is_dir():
                    folder.rmdir()

    def parts(self) -> list[Path]:
        """Files and folders of a run that are there, finished or not."""
        named = [self.config, self.selection, self.metrics, self.adapter, self.path / EVALUATION, self.path / REPORT]
        return [part for part in named if part.exists()] + [folder for _, folder in self._checkpoint_folders()]

    def check_unused(self) -> None:
        """Refuse a folder that holds a run.

        Raises:
            ConfigError: It does; the message says what to type to continue, replace or keep it.
        """
        parts = self.parts()
        if not parts:
            return
        state = "a finished run" if self.adapter.exists() else "an interrupted run"
        names = ", ".join(part.name for part in parts[:4]) + (", ..." if len(parts) > 4 else "")
        proceed = "" if self.adapter.exists() else "--resume to continue it, "
        raise ConfigError(
            f"output_dir {self.path} holds {state} ({names}). Add {proceed}--overwrite to delete it and start anew, "
            "or --output_dir with another folder."
        )

    def clear(self) -> None:
        """Delete the run, and nothing else that lies in the folder."""
        for part in self.parts():
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink()

    def checkpoints(self) -> Checkpoints:
        """The checkpoints, complete or not."""
        newest_first = [folder for _, folder in sorted(self._checkpoint_folders(), reverse=True)]
        complete = [folder for folder in newest_first if is_complete(folder)]
        return Checkpoints(complete[0] if complete else None, [it for it in newest_first if it not in complete])

    def checkpoint_to_resume(self) -> Checkpoints:
        """The checkpoints of a run that can be continued.

        Raises:
            ResumeError: There is no run, it is finished, or it has no complete checkpoint.
        """
        if not self.parts():
            raise ResumeError(
                f"resume: output_dir {self.path} holds no run. Check --output_dir, or leave --resume out to start one."
            )
        if self.adapter.exists():
            raise ResumeError(
                f"resume: the run in {self.path} is finished, its adapter is in {self.adapter}. To repeat it, leave "
                "--resume out and choose another --output_dir; to do it again here, write --overwrite."
            )
        found = self.checkpoints()
        if found.newest is None:
            passed = f" ({', '.join(it.name for it in found.incomplete)}: cut off)" if found.incomplete else ""
            raise ResumeError(
                f"resume: the run in {self.path} has no complete checkpoint{passed}. Write --overwrite in place of "
                "--resume to start anew; a smaller --save_steps leaves checkpoints earlier."
            )
        return found

    def save_adapter(self, save: Callable[[str], object]) -> None:
        """Save the final adapter so that its folder appears whole or not at all.

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

    def _checkpoint_folders(self) -> list[tuple[int, Path]]:
        if not self.path.is_dir():
            return []
        found = [(re.fullmatch(r"checkpoint-(\d+)", folder.name), folder) for folder in self.path.iterdir()]
        return sorted((int(match[1]), folder) for match, folder in found if match and folder.is_dir())


def is_complete(checkpoint: str | Path) -> bool:
    """Whether the writing of a checkpoint came to its end."""
    try:
        return "global_step" in json.loads((Path(checkpoint) / LAST_OF_CHECKPOINT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
