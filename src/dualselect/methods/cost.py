"""Cost of a run: time, memory, and number of rows through the model."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dualselect.system.files import write_json


COST_FILE = "cost.json"


class CostMeter(TrainerCallback):  # type: ignore[misc]
    """Measures training and writes `cost.json` at the end.

    `rows_forward_backward` counts the examples of forward passes with gradients, `rows_forward` those of passes
    without, including references and memory batches.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._started = path, 0.0
        self._rows = {True: 0, False: 0}
        self._hook: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **_: Any,
    ) -> None:
        """Start the timer and the counters."""
        self._path.unlink(missing_ok=True)
        if model is not None:
            self._hook = model.register_forward_pre_hook(self._count, with_kwargs=True)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._started = time.perf_counter()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the file."""
        seconds = time.perf_counter() - self._started
        if self._hook is not None:
            self._hook.remove()
        write_json(
            self._path,
            {
                "seconds": round(seconds, 3),
                "steps": state.global_step,
                "seconds_per_step": round(seconds / max(1, state.global_step), 4),
                "peak_memory_bytes": peak_memory_bytes(),
                "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
                "rows_forward_backward": self._rows[True],
                "rows_forward": self._rows[False],
            },
        )

    def _count(self, model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        tokens = named.get("input_ids", arguments[0] if arguments else None)
        self._rows[torch.is_grad_enabled()] += 0 if tokens is None else len(tokens)


def peak_memory_bytes() -> int:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss of a child process starts at its parent's value
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
