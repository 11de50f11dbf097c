"""Peak memory of a stretch of work: of the GPU where the work runs there, otherwise of the process."""

import ctypes
import gc
import re
import sys
from pathlib import Path

import psutil
import torch

from dualselect.errors import ConfigError


UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
BINARY_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class PeakMemory:
    """Peak memory since the last `take`.

    On a GPU, what the allocator has reserved. On a CPU, the resident memory of the process; where the system cannot
    forget an earlier peak (it is not Linux), the peak since the process began.

    Args:
        device: Where the work runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        self.take(release=True)

    def now(self) -> int:
        """Memory in use, in bytes."""
        if self._gpu is not None:
            return torch.cuda.memory_allocated(self._gpu)
        return int(psutil.Process().memory_info().rss)

    def take(self, *, release: bool = False) -> int:
        """Peak in bytes since the last call, which is forgotten.

        Args:
            release: Hand back what is free to the system, so that it does not count in the next peak.
        """
        if self._gpu is not None:
            torch.cuda.synchronize(self._gpu)
            peak = torch.cuda.max_memory_reserved(self._gpu)
        else:
            peak = _peak_resident() or _maximum_resident()
        if release:
            self._release()
        if self._gpu is not None:
            torch.cuda.reset_peak_memory_stats(self._gpu)
        else:
            _forget_peak()
        return peak

    def _release(self) -> None:
        gc.collect()
        if self._gpu is not None:
            torch.cuda.empty_cache()
        elif sys.platform == "linux":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
            if trim is not None:
                trim(0)


def memory_size(text: str) -> int:
    """A size such as 24GB, 800 MB or 16GiB in bytes.

    Raises:
        ConfigError: It is not a size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    unit = found[2].upper() if found else ""
    if found is None or (found[3] and not unit):
        raise ConfigError(f"--memory is {text!r}: write a size such as 24GB, 800MB or 16GiB")
    return int(float(found[1]) * (BINARY_UNITS if found[3] else UNITS)[unit])


def _peak_resident() -> int:
    """VmHWM of /proc/self/status in bytes, which can be reset and psutil does not read; 0 outside of Linux."""
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+) kB", text, flags=re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # not Linux, or not permitted: the peak since the beginning stays
        return


def _maximum_resident() -> int:
    """Peak of the process since it began; 0 where the system does not tell (Windows)."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
