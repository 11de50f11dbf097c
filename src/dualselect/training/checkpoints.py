"""Checkpoint integrity: a manifest of all files, written last and verified before anything is loaded.

The manifest also records the length of the run's logs, so that a resumed run continues them from
that point.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.errors import ResumeError
from dualselect.system.files import as_json, file_sha256, write_json


logger = logging.getLogger(__name__)

MANIFEST = "dualselect_manifest.json"
TRAINER_STATE = "trainer_state.json"
STATE_FILE = "dualselect_state.safetensors"
SELECTION_LOG = "selection.jsonl"
METRICS_LOG = "metrics.jsonl"
LOGS = (SELECTION_LOG, METRICS_LOG)


@dataclass(frozen=True)
class Found:
    """The checkpoints of a folder.

    Attributes:
        newest: The intact checkpoint with the most steps; None if there is none.
        damaged: Newer checkpoints that are damaged, newest first, each with the reason.
    """

    newest: Path | None
    damaged: list[tuple[Path, str]]


def write_manifest(checkpoint: str | Path, step: int) -> None:
    """Record step, size and sha256 of every file of a complete checkpoint, and the length of the run's logs.

    Every file is flushed to disk before the manifest, which is written atomically.

    Args:
        checkpoint: The folder, inside the run directory.
        step: Optimizer steps done.
    """
    folder = Path(checkpoint)
    content = {
        "step": step,
        "files": {
            path.relative_to(folder).as_posix(): _recorded(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != MANIFEST and not path.name.startswith(f".{MANIFEST}.")
        },
        "logs": {name: _recorded(folder.parent / name) for name in LOGS if (folder.parent / name).is_file()},
    }
    _sync_folder(folder)
    write_json(folder / MANIFEST, {"content": content, "sha256": _sha256_of(content)})
    _sync_folder(folder)


def damage_of(checkpoint: str | Path) -> str | None:
    """Why a checkpoint cannot be used, with the name of the file; None if it is intact.

    Args:
        checkpoint: The folder.
    """
    folder = Path(checkpoint)
    content = _manifest_of(folder)
    if isinstance(content, str):
        return content
    number = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    if number and int(number[1]) != content["step"]:
        return f"{MANIFEST} is for step {content['step']}"
    for name, recorded in content["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != recorded["bytes"]:
            return f"{name} has {path.stat().st_size:,} bytes instead of {recorded['bytes']:,}"
        if file_sha256(path) != recorded["sha256"]:
            return f"the content of {name} has changed (sha256)"
    return None


def find_checkpoints(run: str | Path) -> Found:
    """Verify the checkpoints of a folder, newest first, up to the first intact one.

    Args:
        run: The run directory (`output_dir`).
    """
    damaged: list[tuple[Path, str]] = []
    for folder in checkpoint_folders(run):
        reason = damage_of(folder)
        if reason is None:
            return Found(folder, damaged)
        damaged.append((folder, reason))
    return Found(None, damaged)


def checkpoint_folders(run: str | Path) -> list[Path]:
    """The folders `checkpoint-STEP` of a run, most steps first."""
    path = Path(run)
    if not path.is_dir():
        return []
    numbered = [(re.fullmatch(r"checkpoint-(\d+)", folder.name), folder) for folder in path.iterdir()]
    return [folder for _, folder in sorted(((int(n[1]), f) for n, f in numbered if n and f.is_dir()), reverse=True)]


def checkpoint_to_load(asked: str | bool, run: str | Path, instead: str) -> Path:
    """The checkpoint to resume from.

    Args:
        asked: True for the newest intact one of the run; otherwise a folder.
        run: The run directory.
        instead: What to do when no checkpoint is intact, for the message.

    Raises:
        ResumeError: The requested checkpoint is damaged, or none is intact; the message names the file.
    """
    found = find_checkpoints(run)
    if asked is not True:
        folder = Path(str(asked))
        reason = damage_of(folder) if folder.is_dir() else "the folder does not exist"
        if reason is None:
            return folder
        other = f"resume from {found.newest}" if found.newest else instead
        raise ResumeError(f"checkpoint {folder} cannot be used: {reason}. Instead, {other}.")
    warn_of_damaged(found.damaged)
    if found.newest is None:
        seen = "; ".join(f"{folder.name}: {reason}" for folder, reason in found.damaged) or "there is none"
        raise ResumeError(f"{run} has no checkpoint that can be used ({seen}). Instead, {instead}.")
    return found.newest


def warn_of_damaged(damaged: Iterable[tuple[Path, str]]) -> None:
    """Warn about every skipped checkpoint, with the name of the file."""
    for folder, reason in damaged:
        logger.warning("checkpoint %s is skipped: %s", folder, reason)


def restore_logs(checkpoint: str | Path) -> None:
    """Truncate the logs next to a checkpoint to their length at the time of the checkpoint.

    Raises:
        ResumeError: A log is shorter than it was, or its lines have changed. Nothing is truncated in this case.
    """
    logs = _logs_of(checkpoint)
    check_logs(checkpoint)
    for name in LOGS:
        path = Path(checkpoint).parent / name
        if name in logs or path.is_file():
            os.truncate(path, logs.get(name, {"bytes": 0})["bytes"])


def check_logs(checkpoint: str | Path) -> None:
    """Reject the logs next to a checkpoint if the part written before the checkpoint has changed.

    Raises:
        ResumeError: A log is missing, shorter or changed. The message gives the file, the line and the fix.
    """
    for name, recorded in _logs_of(checkpoint).items():
        path = Path(checkpoint).parent / name
        content = path.read_bytes()[: recorded["bytes"]] if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() == recorded["sha256"]:
            continue
        raise ResumeError(
            f"{path} {_log_damage(content, recorded)}: the log of a resumed run would be wrong. Restore the file, or "
            f"use --overwrite instead of --resume to start over (in Python: delete {path.parent} or choose another "
            "output_dir)."
        )


def broken_line(content: bytes) -> int | None:
    """Number, from 1, of the first line of a log that is not a JSON object; None if every line is one.

    An unterminated last line (left by a killed process) is ignored.
    """
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            if not isinstance(json.loads(line), dict):
                return number
        except ValueError:
            return number
    return None


def _log_damage(content: bytes, recorded: dict[str, Any]) -> str:
    lines = content.count(b"\n")
    if (number := broken_line(content)) is not None:
        return f"is broken in line {number}"
    if len(content) < recorded["bytes"]:
        return f"ends after line {lines}, but {recorded['lines']} lines were written before the checkpoint"
    return f"was changed: a line up to line {recorded['lines']} is not what was written"


def _logs_of(checkpoint: str | Path) -> dict[str, Any]:
    content = _manifest_of(Path(checkpoint))
    if isinstance(content, str):
        raise ResumeError(f"checkpoint {checkpoint} cannot be used: {content}")
    logs: dict[str, Any] = content["logs"]
    return logs


def _manifest_of(folder: Path) -> dict[str, Any] | str:
    """The content of a manifest, or why it cannot be used."""
    path = folder / MANIFEST
    if not path.is_file():
        if (folder / TRAINER_STATE).is_file() and not (folder / STATE_FILE).is_file():
            return f"{STATE_FILE} is missing; a run with save_only_model: true cannot be resumed, set it to false"
        return f"{MANIFEST} is missing: saving was interrupted, or another trainer wrote the checkpoint"
    try:
        text = path.read_text(encoding="utf-8")
        manifest = json.loads(text)
        content = manifest["content"]
        if manifest["sha256"] != _sha256_of(content) or text != as_json(manifest):
            return f"the content of {MANIFEST} has changed (sha256)"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"{MANIFEST} is broken"
    if STATE_FILE not in content["files"]:
        return f"{STATE_FILE} is missing; a run with save_only_model: true cannot be resumed, set it to false"
    return dict(content)


def _recorded(path: Path) -> dict[str, Any]:
    """Flush a file to disk and return its size and hash, and for a log its number of lines."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        facts: dict[str, Any] = {"bytes": file.tell(), "sha256": digest}
        if path.name in LOGS:
            file.seek(0)
            facts["lines"] = sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    return facts


def _sha256_of(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
