"""Execute the runs of a comparison one after the other, each in its own process; skip those that are done."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from dualselect.comparison import run_process
from dualselect.comparison.run_plan import FAILURE_FILE, RunPlan, read_json


START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
PrintLine = Callable[[str], None]


class RunQueue:
    """Executes plans, estimates the remaining time, and collects failures.

    Args:
        left: Maximum number of runs, for the estimate.
        print_line: Receives progress messages.

    Attributes:
        failed: Reasons of failed runs, by title.
    """

    def __init__(self, left: int, print_line: PrintLine) -> None:
        self.failed: dict[str, str] = {}
        self._left, self._print_line, self._seconds = left, print_line, list[float]()

    def do(self, plans: Sequence[RunPlan]) -> None:
        """Execute the plans that are not done, and retry missing verdicts.

        Raises:
            ConfigError: A folder holds a run with other settings.
            DataError: A folder holds a run with other inputs.
        """
        for plan in plans:
            plan.check_same()
            if not plan.is_done() or plan.still_unscored():
                self._do(plan)
            self._left -= 1

    def _do(self, plan: RunPlan) -> None:
        self._print_line(f"{plan.title}{self._time_left()}")
        started = time.monotonic()
        failure = _in_process(plan)
        seconds = time.monotonic() - started
        if failure is None:
            self._seconds.append(seconds)
            self._print_line(f"  done in {duration(seconds)}")
        else:
            self.failed[plan.title] = failure
            self._print_line(f"  failed after {duration(seconds)}: {failure}")

    def _time_left(self) -> str:
        if not self._seconds:
            return f" ({self._left} runs left)"
        left = self._left * sum(self._seconds) / len(self._seconds)
        return f" ({self._left} runs left, about {duration(left)})"


def duration(seconds: float) -> str:
    """Format as hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _in_process(plan: RunPlan) -> str | None:
    """Execute one plan; returns the reason of a failure, or None."""
    context: Any = multiprocessing.get_context(START_METHOD)
    if START_METHOD == "forkserver":
        # the fork server imports once for all runs
        context.set_forkserver_preload([run_process.__name__])
    plan.path.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=run_process.main, args=(plan,))
    process.start()
    try:
        process.join()
    except BaseException:
        process.terminate()
        process.join()
        raise
    status = process.exitcode or 0
    if status == 0 and plan.is_done():
        return None
    failure = read_json(plan.path / FAILURE_FILE)
    if failure is not None and status > 0:
        return str(failure["error"])
    if status < 0:
        return f"killed by signal {-status}" + (" (out of memory?)" if status == -signal.SIGKILL else "")
    return f"exited with status {status} without a message; see {plan.path / 'run.log'}"
