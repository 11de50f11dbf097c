"""Where the per-example gradients of an optimizer step are kept until its rows are chosen."""

import logging
from typing import Literal, get_args

import psutil
import torch
from torch import nn

from dualselect.gradients import GradientLayout
from dualselect.system.processes import gathered, process_count, processes_here
from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)

Storage = Literal["device", "host", "recompute"]

DEVICE_SHARE, HOST_SHARE = 0.25, 0.5
"""Largest shares of the free memory that the gradients of one optimizer step may use."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
GIBIBYTE = 2**30


def choose_storage(
    config: DualSelectConfig,
    model: nn.Module,
    layout: GradientLayout,
    recorded: Storage | None = None,
    *,
    rows_in_one: int = 1,
) -> Storage:
    """Resolve `gradient_storage`, and log the choice, the reason and the memory it needs.

    All processes use the same storage: with `auto`, the first option that fits into the memory of each of them.

    Args:
        config: Settings.
        model: The model; used to check for dropout.
        layout: The layout of the trainable parameters.
        recorded: The choice of the resumed run, which is kept; None for a new run.
        rows_in_one: Most rows of the data in one row of the loader; more than 1 with packing.
    """
    rows = config.per_device_train_batch_size * config.gradient_accumulation_steps * rows_in_one
    needed = rows * layout.size * DTYPES[config.gradient_dtype].itemsize
    who = " of each process" if process_count() > 1 else ""
    most = "at most " if rows_in_one > 1 else ""
    arithmetic = (
        f"{most}{rows} rows{who} x {layout.size:,} parameters x {DTYPES[config.gradient_dtype].itemsize} bytes = "
        f"{needed / GIBIBYTE:.2f} GiB"
    )
    if config.gradient_storage != "auto":
        storage, why = config.gradient_storage, "as set"
    elif recorded is not None:
        storage, why = recorded, "as before the resume"
    else:
        found = gathered(_by_memory(needed, layout.device))
        storage, why = max(found, key=lambda one: get_args(Storage).index(one[0]))
    if storage == "recompute":
        advice = "the gradients of the kept rows are computed again in a second backward pass"
        if has_dropout(model):
            advice += ", in which dropout draws different masks"
    else:
        advice = "gradient_storage: recompute, fewer rows per step or a lower LoRA rank need less"
    logger.info(
        "per-example gradients of one optimizer step: %s; gradient_storage: %s (%s); %s",
        arithmetic,
        storage,
        why,
        advice,
    )
    return storage


def has_dropout(model: nn.Module) -> bool:
    """Whether a layer of the model draws dropout masks in training."""
    return any(isinstance(module, nn.Dropout) and module.p > 0 for module in model.modules())


def _by_memory(needed: int, device: torch.device) -> tuple[Storage, str]:
    """The first storage with enough memory, and the reason with its numbers."""
    host = psutil.virtual_memory().available // processes_here()
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else host
    if needed <= DEVICE_SHARE * free:
        return "device", f"auto: at most {DEVICE_SHARE:.0%} of {free / GIBIBYTE:.1f} GiB that are free"
    if on_gpu and needed <= HOST_SHARE * host:
        return "host", f"auto: over {DEVICE_SHARE:.0%} of {free / GIBIBYTE:.1f} GiB free on the device"
    return "recompute", f"auto: over {DEVICE_SHARE:.0%} of {free / GIBIBYTE:.1f} GiB that are free"
