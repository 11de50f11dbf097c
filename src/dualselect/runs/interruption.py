"""Ctrl-C while training: the first finishes the step and saves a checkpoint, the second stops immediately."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dualselect.system.processes import gathered


NOTICE = (
    b"\nStopping after this optimizer step and a checkpoint. Press Ctrl-C again to stop immediately, at the last "
    b"checkpoint.\n"
)
STANDARD_ERROR = 2


class Interruption(TrainerCallback):  # type: ignore[misc]
    """A callback and a context: inside it, SIGINT and SIGTERM stop the training after the current step.

    Attributes:
        received: Number of the first signal; None if there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python allows signal handlers only in the main thread; in other threads the handlers stay unchanged.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Request a checkpoint and the end of training after a signal."""
        # a signal may reach only one of several processes, or reach them in different steps
        received = max(number or 0 for number in gathered(self.received))
        if received:
            self.received = received
            control.should_save = True
            control.should_training_stop = True

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        # Without print or logging: the signal may have interrupted a write to the same stream.
        os.write(STANDARD_ERROR, NOTICE)
