"""How a user writes which prompts to measure on, and those prompts."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from dualselect.data.sources import Source
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.builtin_suites import Part, builtin_suites
from dualselect.evaluation.exact_match import AnswerFormat
from dualselect.evaluation.known_suites import KNOWN_SUITES, known_suite, source_of, with_number
from dualselect.evaluation.prompt_rows import prompt_of
from dualselect.evaluation.suite import PURPOSES, Prompt, Purpose, Suite


_BUILTIN = re.compile(r"builtin(?::(?P<part>validation|test))?(?::(?P<count>[1-9]\d*))?")


def load_suites(spelled: Sequence[str | Suite]) -> list[Suite]:
    """Load suites.

    `builtin`, `builtin:COUNT`, `builtin:validation` and `builtin:validation:COUNT` are the built-in suites; `NAME` or
    `NAME:SOURCE` is a set of `KNOWN_SUITES`; `PURPOSE:SOURCE` are own prompts for one of `PURPOSES`, and `SOURCE`
    alone own prompts whose columns say what for: with `rejected` a preference, with `answer` a task, else a chat. A
    SOURCE is a file, a folder or a hub name, with `[start:stop]` behind it for some of its rows.

    Args:
        spelled: At least one; a `Suite` is taken as it is.

    Raises:
        ConfigError: There is none, or two have the same name.
        DataError: One cannot be read; the message says why.
    """
    if not spelled:
        raise ConfigError("suite is missing: write --suite builtin, a named set or a file of prompts")
    suites = [suite for one in spelled for suite in ([one] if isinstance(one, Suite) else _suites(one))]
    names = Counter(suite.name for suite in suites)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(
            f"two suites are called {twice[0]}: results could not tell them apart. Name each source once, and files "
            "differently"
        )
    return suites


def _suites(spelled: str) -> list[Suite]:
    if match := _BUILTIN.fullmatch(spelled):
        return builtin_suites(cast(Part, match["part"] or "test"), int(match["count"]) if match["count"] else None)
    name, colon, source = spelled.partition(":")
    if name == "builtin":
        raise DataError(f"{spelled} is not understood: write builtin, builtin:COUNT or builtin:validation:COUNT")
    if name in KNOWN_SUITES:
        return known_suite(name, source)
    if name in PURPOSES:
        return [_own(source, name)]
    if not colon and not Path(spelled).exists() and "/" not in spelled and "." not in spelled:
        known = ["builtin", *KNOWN_SUITES, *(f"{purpose}:FILE" for purpose in PURPOSES)]
        near = difflib.get_close_matches(spelled, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}, or a file"
        raise DataError(f"{spelled} is neither a known suite nor a file: {advice}")
    return [_own(spelled, None)]


def _own(source: str, purpose: Purpose | None) -> Suite:
    parsed = source_of(source)
    rows, ignored = parsed.read(None)
    prompts = [prompt_of(row, place) for place, row in rows]
    notes = [f"files without rows, ignored: {', '.join(ignored)}"] if ignored else []
    if purpose is None:
        purpose = _purpose_of(prompts)
        notes.append(
            f"taken for {purpose}; write harmful:{source} or another of {', '.join(PURPOSES)} to say otherwise"
        )
    for needed in {"task": ("answer",), "preference": ("rejected", "chosen")}.get(purpose, ()):
        whole = [prompt for prompt in prompts if getattr(prompt, needed).strip()]
        if len(whole) < len(prompts):
            notes.append(f"dropped {len(prompts) - len(whole):,} rows without {needed}")
        if not whole:
            raise DataError(f"{source}: no row has a column {needed}, which a suite of {purpose} needs: add it")
        prompts = whole
    answer_format: AnswerFormat = "any"
    if purpose == "task" and all("####" in prompt.answer for prompt in prompts):
        answer_format = "gsm8k"
        prompts = [with_number(prompt, source) for prompt in prompts]
    return Suite.of(_name_of(parsed), purpose, prompts, answer_format=answer_format, notes=notes)


def _purpose_of(prompts: Sequence[Prompt]) -> Purpose:
    if all(prompt.rejected for prompt in prompts):
        return "preference"
    return "task" if all(prompt.answer for prompt in prompts) else "chat"


def _name_of(source: Source) -> str:
    if source.is_hub_name:
        return source.place.partition(":")[0].rpartition("/")[2]
    return Path(source.place).name.partition(".")[0] or source.place
