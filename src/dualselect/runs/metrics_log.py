"""metrics.jsonl: what the trainer logged, one JSON line per log."""

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dualselect.system.files import write_text


class MetricsLog(TrainerCallback):  # type: ignore[misc]
    """Appends every log of the trainer to a file; a resumed run first drops what its checkpoint does not know of.

    Args:
        path: The file; created with the first line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Keep the lines up to the step that training starts from, and drop a last line that was cut off."""
        if not self.path.exists():
            return
        whole = [line for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]
        write_text(self.path, "".join(line for line in whole if json.loads(line)["step"] <= state.global_step))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append one line; a number that is not finite, which JSON cannot say, is null."""
        facts = {"step": state.global_step, **{name: _finite(value) for name, value in (logs or {}).items()}}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(facts, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
