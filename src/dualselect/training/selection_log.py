"""The selection log: one JSON line per warm-up step, refresh and step, with the ids of its rows, and one at the end.

Lines are appended as they happen; a resumed run first cuts the file back to where its checkpoint was made.
"""

import json
from pathlib import Path
from typing import Any

from dualselect.errors import ResumeError
from dualselect.system.processes import is_main_process
from dualselect.training.checkpoints import SELECTION_LOG as SELECTION_LOG


class SelectionLog:
    """Appends to and reads one `selection.jsonl`.

    Every line has `event` and `step`, the number of the optimizer step that it belongs to, from 1. Events are
    `warmup`, `refresh`, `step`, and the `end` of a run that took all its steps and kept its last weights, which
    belongs to the step after these.

    Args:
        folder: The run directory; created with the first line.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / SELECTION_LOG

    def append(self, event: str, step: int, **facts: Any) -> None:
        """Append one line, in the main process."""
        if not is_main_process():
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"event": event, "step": step, **facts}, allow_nan=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All lines, oldest first; a last line that was cut off is left out.

        Raises:
            ResumeError: A line is not a JSON object with `event` and `step`; the message names file and line.
        """
        lines = []
        for number, line in enumerate(self._whole_lines(), 1):
            try:
                found = json.loads(line)
                good = isinstance(found, dict) and isinstance(found.get("event"), str)
                good = good and isinstance(found.get("step"), int)
            except (ValueError, RecursionError):
                good = False
            if not good:
                raise ResumeError(
                    f"{self.path} is broken in line {number}: it is not a JSON object with `event` and `step`. "
                    "Restore the file; what comes before that line is unharmed."
                )
            lines.append(found)
        return lines

    def _whole_lines(self) -> list[str]:
        # an id may hold any text, and a broken file any bytes
        with self.path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            return [line for line in file if line.endswith("\n")]
