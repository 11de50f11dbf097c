"""Lines about versions and hardware, and a warning for a busy machine."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping

import psutil
import torch

from dualselect.preflight.disk import in_units


PACKAGES = ("dualselect", "torch", "transformers", "trl", "peft")

BUSY = 0.5
"""A warning is given if the load average exceeds the number of cores by more than this."""


def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that decide what a run computes."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def machine_lines(device: torch.device) -> list[str]:
    """System, processors, memory, and the device of the run.

    Args:
        device: The device of the run.
    """
    memory = in_units(psutil.virtual_memory().total)
    lines = [
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, {memory} memory, "
        f"{torch.get_num_threads()} torch threads"
    ]
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        lines.append(f"device: {facts.name}, {in_units(facts.total_memory)} memory, CUDA {torch.version.cuda}")
    else:
        lines.append(f"device: {device.type}")
    return lines


def busy_warning(load: float, cores: int) -> str:
    """A warning if the load exceeds the number of cores, which makes all times longer; otherwise empty.

    Args:
        load: Load average of the last minute.
        cores: Cores of the machine.
    """
    if load <= cores + BUSY:
        return ""
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores): the minutes are those of a run under this load; "
        "plan again when it is idle"
    )
