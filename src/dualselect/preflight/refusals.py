"""Collects all refusals, so that one failed check does not end the others."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, TypeVar

from dualselect.errors import ConfigError, DualSelectError


T = TypeVar("T")

REFUSALS = (ValueError, TypeError, KeyError, ImportError, RuntimeError)
"""Exceptions of the libraries for settings that they reject."""


class Refusals:
    """Error messages, each once, in the order found.

    Attributes:
        messages: What was seen, why it is refused, what to change.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, message: str) -> None:
        """Record a refusal; a message that is already recorded is not repeated."""
        if message not in self.messages:
            self.messages.append(message)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Record an error instead of raising it; the rest of the block is skipped."""
        try:
            yield
        except (DualSelectError, OSError) as error:
            self.add(str(error))


def built(kind: type[T], values: Mapping[str, Any], refusals: Refusals) -> T:
    """Build settings, and record everything about the values that is refused.

    A refused value is replaced by its default, so that the others are checked too. Which value a refusal is about is
    found by leaving them out in turn: without it the refusal is gone.

    Args:
        kind: A dataclass of settings whose values all have a default.
        values: Values that are not the default.
        refusals: Where refusals are recorded.
    """
    left = dict(values)
    while True:
        error = _refusal(kind, left)
        if error is None:
            return kind(**left)
        refusals.add(_message(error))
        for name in _about(kind, left, error):
            del left[name]


def given(kind: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of `values`, the fields of a dataclass that are not at their default."""
    default = kind()
    names = [field.name for field in fields(kind) if field.init and field.name in values]
    return {name: values[name] for name in names if values[name] != getattr(default, name)}


def _refusal(kind: type[Any], values: Mapping[str, Any]) -> Exception | None:
    try:
        kind(**values)
    except REFUSALS as error:
        return error
    return None


def _about(kind: type[Any], values: Mapping[str, Any], error: Exception) -> list[str]:
    """The values that cause a refusal; all of them if no smaller set is found."""
    named = [name for name in values if name in str(error)]
    for name in [*named, *(name for name in values if name not in named)]:
        others = {other: value for other, value in values.items() if other != name}
        if str(_refusal(kind, others)) != str(error):
            return [name]
    others = {name: value for name, value in values.items() if name not in named}
    return named if str(_refusal(kind, others)) != str(error) else list(values)


def _message(error: Exception) -> str:
    if isinstance(error, ConfigError):
        return str(error)
    return f"these settings were refused by transformers or TRL: {error}; change the one named"
