"""Standard output and error of the command line: no text acts on the terminal, no password shows, lines begin whole.

`guarded_terminal` is the one place where this is done: everything printed, logged, warned of or drawn as a bar goes
through its streams.
"""

import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from dualselect.system.libraries import ignore_library_warnings
from dualselect.system.visible import continued, visible, without_credentials


# What tqdm writes in addition to text: to the start of a line, and up or down to the line of another bar.
_OF_BARS = re.compile(r"(?:\r|\n|\x1b\[A)*")


class GuardedStream:
    """A text stream that spells out what a terminal would act on.

    Args:
        stream: Where the text goes.
        bars: Whether progress bars are drawn here: a leading carriage return and moves between lines then pass.
    """

    def __init__(self, stream: TextIO, *, bars: bool) -> None:
        self._stream, self._bars = stream, bars
        self.at_line_start = True

    def write(self, text: str) -> int:
        """Write the text, made visible; the result is the length of what was given."""
        shown = self._shown(text)
        if shown:
            self.at_line_start = shown[-1] in "\r\n"
            self._stream.write(shown)
        return len(text)

    def begin_line(self) -> None:
        """End a line that was begun, such as that of a bar."""
        if not self.at_line_start:
            self.write("\n")

    def _shown(self, text: str) -> str:
        if not self._bars:
            return without_credentials(visible(text))
        start = _OF_BARS.match(text)
        moves = start[0] if start is not None else ""
        if moves != text and "\x1b" in moves:  # only whole writes are moves of a bar
            moves = ""
        rest = text[len(moves) :]
        end = "\r" if rest.endswith("\r") else ""
        return moves + without_credentials(visible(rest[: len(rest) - len(end)])) + end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_terminal() -> Iterator[GuardedStream]:
    """Guard standard output and error, and quiet the libraries, until the block ends.

    Yields:
        Standard error.
    """
    before = sys.stdout, sys.stderr
    error = GuardedStream(before[1], bars=True)
    sys.stdout, sys.stderr = GuardedStream(before[0], bars=False), error  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            ignore_library_warnings()
            yield error
    finally:
        sys.stdout, sys.stderr = before


class Console(logging.Handler):
    """Information goes to standard output, warnings to standard error, above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        is_warning = record.levelno >= logging.WARNING
        stream: TextIO = sys.stderr if is_warning else sys.stdout
        text = f"warning: {_message(record)}" if is_warning else _message(record)
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=stream)
        else:
            stream.write(text + "\n")


def _message(record: logging.LogRecord) -> str:
    """The message, in which a name from data cannot begin a line that looks like another message."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    values = tuple(continued(value) if isinstance(value, str) else value for value in record.args)
    return str(record.msg) % values if values else str(record.msg)
