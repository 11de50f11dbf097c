"""The log of this package, held back while a report is made."""

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
    """Keep the messages of this package from the terminal until the block ends.

    Yields:
        The warnings so far, each once; information is dropped.
    """
    logger, handler = logging.getLogger("dualselect"), _Warnings()
    before, propagate = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield handler.messages
    finally:
        logger.handlers, logger.propagate = before, propagate
