"""Capture of this package's log while a report is computed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.messages:
            self.messages.append(message)


@contextmanager
def held_back_log() -> Iterator[list[str]]:
    """Capture the log messages of this package instead of printing them.

    Yields:
        The warnings so far, each once; messages of lower levels are dropped.
    """
    logger, handler = logging.getLogger("dualselect"), _Warnings()
    before, propagate = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield handler.messages
    finally:
        logger.handlers, logger.propagate = before, propagate
