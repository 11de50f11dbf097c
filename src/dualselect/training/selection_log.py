"""The selection log: one JSON line per warm-up step, refresh and step, with the ids of its rows, and one at the end.

Each line is appended when its event happens. A resumed run first truncates the file to its length at the checkpoint.
"""

import json
from pathlib import Path
from typing import Any

from dualselect.errors import ResumeError
from dualselect.system.processes import is_main_process
from dualselect.training.checkpoints import SELECTION_LOG as SELECTION_LOG


class SelectionLog:
    """Appends to and reads one `selection.jsonl`.

    Every line has `event` and `step`, the number of its optimizer step, from 1. Events are `filter` (calibrated for
    the warm-up), `warmup`, `refresh`, `step`, `nonfinite` and `end`. A run writes `end` if it took all its steps and
    kept its last weights; its `step` is the last step plus 1.

    Args:
        folder: The run directory; created when the first line is written.
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
        """All lines, oldest first, without an unterminated last line.

        Raises:
            ResumeError: A line is not a JSON object with `event` and `step`. The message names file and line.
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
                    "Restore the file; the lines before it are intact."
                )
            lines.append(found)
        return lines

    def _whole_lines(self) -> list[str]:
        # an id may contain any text, and a broken file any bytes
        with self.path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            return [line for line in file if line.endswith("\n")]
