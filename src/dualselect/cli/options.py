"""Options of a verb: argparse whose mistakes are errors like all others, with the option that was probably meant."""

import argparse
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from dualselect.errors import ConfigError
from dualselect.system.nearest import nearest


logger = logging.getLogger(__name__)

_OPTION = re.compile(r"--?[A-Za-z]")


class OptionParser(argparse.ArgumentParser):
    """The parser of a verb; abbreviations are mistakes, since a later option may begin the same."""

    def __init__(self, prog: str, **settings: Any) -> None:
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(prog=prog, allow_abbrev=False, **settings)

    @property
    def names(self) -> list[str]:
        """The options without their dashes."""
        return [word[2:] for word in self._option_string_actions if word.startswith("--")]

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse words that must each belong to an option.

        Raises:
            ConfigError: One does not; the nearest option is named.
        """
        words = list(args or [])
        for word in option_words(words):
            if word not in self._option_string_actions:
                near = nearest(word, self.names)
                self.error(f"{word} is not an option" + (f"; did you mean --{near}?" if near else ""))
        tell_repeated(words, self._actions)
        return super().parse_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, with its usage, before an exit."""
        raise ConfigError(f"command line: {message}; {self.prog} --help explains every option")


def option_words(words: Iterable[str]) -> list[str]:
    """The words that are options, as typed, without `=VALUE`."""
    return [word.split("=")[0] for word in words if _OPTION.match(word)]


def tell_repeated(words: Sequence[str], actions: Iterable[argparse.Action]) -> None:
    """Warn of options that are given more than once; the last one counts.

    Args:
        words: The command line.
        actions: Of the parser that reads it.
    """
    given = Counter(word.lstrip("-").replace("-", "_") for word in option_words(words))
    for action in actions:
        if given[action.dest] < 2 or action.nargs == 0 or type(action).__name__ in ("_ExtendAction", "_AppendAction"):
            continue
        several = f"; several values are written behind one --{action.dest}" if action.nargs in ("+", "*") else ""
        logger.warning("--%s is given %d times: the last one counts%s", action.dest, given[action.dest], several)
