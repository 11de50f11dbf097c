"""The selection log: one JSON line per warm-up step, refresh and step, with the ids of its rows, and one at the end.

Lines are appended as they happen; a resumed run first drops what its checkpoint does not know of.
"""

import json
from pathlib import Path
from typing import Any

from dualselect.system.files import write_text


SELECTION_LOG = "selection.jsonl"


class SelectionLog:
    """Appends to and cuts back one `selection.jsonl`.

    Every line has `event` and `step`, the number of the optimizer step that it belongs to, from 1. Events are
    `warmup`, `refresh`, `step`, and the `end` of a run that took all its steps and kept its last weights, which
    belongs to the step after these.

    Args:
        folder: The run directory; created with the first line.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / SELECTION_LOG

    def append(self, event: str, step: int, **facts: Any) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, "step": step, **facts}, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def cut_after(self, step: int) -> None:
        """Keep the lines up to an optimizer step and drop the later ones, and a last line that was cut off."""
        if not self.path.exists():
            return
        write_text(self.path, "".join(line for line in self._whole_lines() if json.loads(line)["step"] <= step))

    def read(self) -> list[dict[str, Any]]:
        """All lines, oldest first; a last line that was cut off is left out."""
        return [json.loads(line) for line in self._whole_lines()]

    def _whole_lines(self) -> list[str]:
        with self.path.open(encoding="utf-8", newline="\n") as file:
            return [line for line in file if line.endswith("\n")]
