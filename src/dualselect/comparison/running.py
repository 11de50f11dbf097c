"""The runs of a comparison one after the other, each in its own process; those that are done are not done again."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

from dualselect.comparison import one_run
from dualselect.comparison.run_plan import FAILURE_FILE, RunPlan, read_json


START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
Tell = Callable[[str], None]


class Runs:
    """Does plans, counts what is left, and remembers what failed.

    Args:
        left: How many runs there are to do at most, for the time left.
        tell: Called with a line for people.

    Attributes:
        failed: Why runs failed, by title.
    """

    def __init__(self, left: int, tell: Tell) -> None:
        self.failed: dict[str, str] = {}
        self._left, self._tell, self._seconds = left, tell, list[float]()

    def do(self, plans: Sequence[RunPlan]) -> None:
        """Do the plans that are not done, and ask again for verdicts that may be found by now.

        Raises:
            ConfigError: A folder holds a run by another plan.
            DataError: A folder holds a run on other rows, or of another model.
        """
        for plan in plans:
            plan.check_same()
            if not plan.is_done() or plan.still_unscored():
                self._do(plan)
            self._left -= 1

    def _do(self, plan: RunPlan) -> None:
        self._tell(f"{plan.title}{self._time_left()}")
        started = time.monotonic()
        failure = _in_process(plan)
        seconds = time.monotonic() - started
        if failure is None:
            self._seconds.append(seconds)
            self._tell(f"  done in {duration(seconds)}")
        else:
            self.failed[plan.title] = failure
            self._tell(f"  failed after {duration(seconds)}: {failure}")

    def _time_left(self) -> str:
        if not self._seconds:
            return f" ({self._left} runs left)"
        left = self._left * sum(self._seconds) / len(self._seconds)
        return f" ({self._left} runs left, about {duration(left)})"


def duration(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


def _in_process(plan: RunPlan) -> str | None:
    """Do one plan; why it failed, or None."""
    context: Any = multiprocessing.get_context(START_METHOD)
    if START_METHOD == "forkserver":
        # imported once by a process that does nothing else, and shared by all runs
        context.set_forkserver_preload([one_run.__name__])
    plan.path.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=one_run.main, args=(plan,))
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
    told = read_json(plan.path / FAILURE_FILE)
    if told is not None and status > 0:
        return str(told["error"])
    if status < 0:
        return f"ended by signal {-status}" + (" (was memory short?)" if status == -signal.SIGKILL else "")
    return f"ended with status {status} and said nothing; see {plan.path / 'run.log'}"
