"""Disk space: the size of the checkpoints of a run, and the free space."""

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn

from dualselect.training.config import DualSelectConfig


BYTES_PER_NUMBER = 4
MOMENTS = {"adamw": 2, "adam": 2, "sgd": 0, "adagrad": 1, "rmsprop": 1, "adafactor": 1}
"""State values of an optimizer per trainable parameter, by the beginning of its name; 2 for others."""
SMALL_FILES = 2**16
"""Size of configuration, card, trainer state and manifest, in bytes."""


def weight_bytes(model: nn.Module) -> int:
    """Size of the weights that are saved: of the adapter, in float32, or of the whole model without one."""
    if isinstance(model, PeftModel):
        return BYTES_PER_NUMBER * sum(value.numel() for value in model.parameters() if value.requires_grad)
    return sum(value.numel() * value.element_size() for value in model.parameters())


def final_bytes(weights: int, tokenizer: Any) -> int:
    """Size of the weights that a finished run leaves, with the tokenizer, about.

    Args:
        weights: Of `weight_bytes`.
        tokenizer: Saved beside them.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words = len(backend.to_str(pretty=True).encode()) if backend is not None else 0
    return weights + words + SMALL_FILES


def checkpoint_bytes(config: DualSelectConfig, trainable: int, weights: int, tokenizer: Any) -> int:
    """Size of one checkpoint, about: the weights, the optimizer's moments, the directions of the selection.

    Args:
        config: The settings.
        trainable: Number of trainable parameters, P.
        weights: Of `weight_bytes`.
        tokenizer: Saved beside the weights.
    """
    name = str(getattr(config.optim, "value", config.optim))
    moments = next((count for start, count in MOMENTS.items() if name.startswith(start)), 2)
    own_score = config.reference_contrast != "none" or config.filters_by_conflict
    directions = 4 if own_score else 3  # of a pool with one side
    saved = final_bytes(weights, tokenizer)
    if config.save_only_model:
        return saved
    return saved + (moments + directions) * trainable * BYTES_PER_NUMBER


def existing(path: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())


def free_bytes(path: Path) -> int:
    """Free space for a folder, which need not exist."""
    return shutil.disk_usage(existing(path)).free


def in_units(count: float) -> str:
    """Bytes in the largest fitting of B, KB, MB, GB, TB, powers of 1000."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int, what: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}{'es' if what.endswith('sh') else 's'}"
