"""metrics.jsonl: the logs of the trainer, one JSON line per log."""

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Appends every log of the trainer to a file.

    Args:
        path: The file; created when the first line is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start a new file for a new run. For a resumed run, the file is already truncated to the checkpoint."""
        if state.global_step == 0 and state.is_world_process_zero:
            self.path.unlink(missing_ok=True)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append one line. Numbers that are not finite become null, because JSON cannot represent them."""
        if not state.is_world_process_zero:
            return
        facts = {"step": state.global_step, **{name: _finite(value) for name, value in (logs or {}).items()}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
