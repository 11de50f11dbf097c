"""Named sets of prompts, read from local files or hub names as their authors publish them.

None of their rows is part of this package. Where each comes from and what it measures is in `KNOWN_SUITES`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import datasets

from dualselect.data.files import PlacedRow
from dualselect.data.ids import row_id
from dualselect.data.sources import Source
from dualselect.data.turns import text_of
from dualselect.errors import DataError
from dualselect.evaluation.exact_match import is_number
from dualselect.evaluation.prompt_rows import TEXT_COLUMNS, asked, label, prompt_of
from dualselect.evaluation.suite import Prompt, Suite, Turns


# The policy areas of HEx-PHI by the number in its file names (arXiv 2310.03693); the public copy has no second file.
HEX_PHI_CATEGORIES = (
    "illegal activity",
    "child abuse content",
    "hate, harassment, violence",
    "malware",
    "physical harm",
    "economic harm",
    "fraud, deception",
    "adult content",
    "political campaigning",
    "privacy violation",
    "tailored financial advice",
)
_SLIMORCA_ROLES = {"system": "system", "human": "user", "gpt": "assistant"}


@dataclass(frozen=True)
class KnownSuite:
    """A set that is known by name.

    Attributes:
        about: What it is, for the help.
        make: From placed rows to suites.
        hub: Its name on the hub, taken when no source is given.
        split: The split there; None takes all.
        config: The configuration there, for sets that have several.
    """

    about: str
    make: Callable[[Sequence[PlacedRow]], list[Suite]]
    hub: str
    split: str | None
    config: str | None = None


def known_suite(name: str, source: str) -> list[Suite]:
    """Load a named set.

    Args:
        name: One of `KNOWN_SUITES`.
        source: A file, a folder or a hub name, with an optional slice; empty takes the set's own place on the hub.

    Raises:
        DataError: The source cannot be read, or its rows are not those of the set.
    """
    known = KNOWN_SUITES[name]
    parsed = source_of(source or known.hub)
    if parsed.is_hub_name:
        return known.make(_hub_rows(known, parsed)[parsed.rows])
    rows, ignored = parsed.read(None)
    suites = known.make(rows)
    notes = (f"files without rows, ignored: {', '.join(ignored)}",) if ignored else ()
    return [replace(suite, notes=(*notes, *suite.notes)) for suite in suites]


def source_of(text: str) -> Source:
    """A source of prompts.

    Raises:
        DataError: It cannot be understood, or it chooses a response, where an evaluation asks for one.
    """
    source = Source.of(text)
    if source.response_column != "chosen":
        raise DataError(
            f"{text}: #{source.response_column} chooses the response to train on, and an evaluation asks the prompts: "
            "leave it out"
        )
    return source


def _hub_rows(known: KnownSuite, source: Source) -> list[PlacedRow]:
    name, _, split = source.place.partition(":")
    config = known.config if name == known.hub else None
    try:
        loaded = datasets.load_dataset(name, config, split=split or known.split)
    except Exception as error:  # the hub's clients have no common error
        raise DataError(
            f"{source.text}: the hub gives no data set {name!r} ({type(error).__name__}: {error}): check the name, "
            "the split (owner/name:split), the connection and, for sets with conditions, that you have accepted them; "
            "or name a local file"
        ) from error
    parts = loaded.items() if isinstance(loaded, datasets.DatasetDict) else [(split or known.split, loaded)]
    return [(f"{name}:{part}, row {number}", row) for part, rows in parts for number, row in enumerate(rows, 1)]


def _harmful(name: str) -> Callable[[Sequence[PlacedRow]], list[Suite]]:
    def make(rows: Sequence[PlacedRow]) -> list[Suite]:
        return [Suite.of(name, "harmful", [replace(prompt_of(row, place), chosen="") for place, row in rows])]

    return make


def _hex_phi(rows: Sequence[PlacedRow]) -> list[Suite]:
    prompts: list[Prompt] = []
    seen: set[str] = set()
    for place, row in rows:
        category = label(row, "category", place) or _hex_phi_category(place)
        texts = [str(prompt_of(row, place).messages[-1]["content"])] if set(row) & {*TEXT_COLUMNS, "messages"} else []
        if not texts:
            # its files have no header, so the first prompt of each was taken for one
            if len(row) != 1:
                raise DataError(
                    f"{place}: {len(row)} columns and none called {' or '.join(TEXT_COLUMNS[:2])}: HEx-PHI has one "
                    "prompt a line"
                )
            ((first, text),) = row.items()
            texts = [text_of(text, "the prompt", place)]
            part = place.rpartition(",")[0]
            if part not in seen:
                seen.add(part)
                texts = [first, *texts]
        prompts += [Prompt(row_id(text, ""), asked(text), category, "hex-phi") for text in texts]
    return [Suite.of("hex-phi", "harmful", prompts)]


def _hex_phi_category(place: str) -> str:
    part = place.rpartition(",")[0]
    stem = part.rpartition(":")[2] if part.startswith(f"{KNOWN_SUITES['hex-phi'].hub}:") else Path(part).stem
    number = re.match(r"category_?(\d+)", stem, re.IGNORECASE)
    if number and 1 <= int(number[1]) <= len(HEX_PHI_CATEGORIES):
        return HEX_PHI_CATEGORIES[int(number[1]) - 1]
    return stem


def _xstest(rows: Sequence[PlacedRow]) -> list[Suite]:
    safe: list[Prompt] = []
    unsafe: list[Prompt] = []
    for place, row in rows:
        kind = label(row, "type", place)
        if not kind:
            raise DataError(
                f"{place}: no column type (found: {', '.join(row)}), which says what is safe: take XSTest's own file"
            )
        says_unsafe = label(row, "label", place).lower() == "unsafe" or kind.startswith("contrast")
        prompt = replace(prompt_of(row, place), category=kind, kind="xstest")
        (unsafe if says_unsafe else safe).append(prompt)
    suites = [("xstest-safe", "harmless", safe), ("xstest-unsafe", "harmful", unsafe)]
    return [Suite.of(name, purpose, prompts) for name, purpose, prompts in suites if prompts]  # type: ignore[arg-type]


def with_number(prompt: Prompt, place: str) -> Prompt:
    """A prompt whose answer is the number behind `####`, where GSM8K has it.

    Raises:
        DataError: There is no such number.
    """
    answer = prompt.answer.rpartition("####")[2].strip()
    if not is_number(answer):
        raise DataError(f"{place}: answer ends in {prompt.answer[-40:]!r}, where GSM8K has `#### number`")
    return replace(prompt, answer=answer)


def _gsm8k(rows: Sequence[PlacedRow]) -> list[Suite]:
    prompts = [with_number(prompt_of(row, place), place) for place, row in rows]
    return [Suite.of("gsm8k", "task", prompts, answer_format="gsm8k")]


def _hh(rows: Sequence[PlacedRow]) -> list[Suite]:
    prompts = [prompt_of(row, place) for place, row in rows]
    pairs = [prompt for prompt in prompts if prompt.chosen.strip() and prompt.rejected.strip()]
    notes = [f"dropped {len(prompts) - len(pairs):,} rows without two responses to one prompt"]
    return [Suite.of("hh-rlhf", "preference", pairs, notes=notes if len(pairs) < len(prompts) else ())]


def _hh_prompts(rows: Sequence[PlacedRow]) -> list[Suite]:
    prompts = {prompt.sha256: prompt for prompt in (prompt_of(row, place) for place, row in rows)}
    notes = [f"{len(rows) - len(prompts):,} rows repeat an earlier prompt (left out)"]
    return [Suite.of("hh-prompts", "chat", list(prompts.values()), notes=notes if len(prompts) < len(rows) else ())]


def _slimorca(rows: Sequence[PlacedRow]) -> list[Suite]:
    return [Suite.of("slimorca", "chat", [prompt_of(_slimorca_row(row, place), place) for place, row in rows])]


def _slimorca_row(row: dict[str, object], place: str) -> dict[str, object]:
    turns = row.get("conversations")
    if not isinstance(turns, list):
        raise DataError(f"{place}: no list conversations (found: {', '.join(row)}): take SlimOrca's own file")
    messages: Turns = []
    for turn in turns:
        speaker = turn.get("from") if isinstance(turn, dict) else turn
        if not isinstance(turn, dict) or speaker not in _SLIMORCA_ROLES:
            raise DataError(f"{place}: a turn is from {speaker!r}, not {', '.join(_SLIMORCA_ROLES)}")
        messages.append({"role": _SLIMORCA_ROLES[speaker], "content": text_of(turn.get("value"), "value", place)})
    return {"id": row.get("id"), "messages": messages}


KNOWN_SUITES: dict[str, KnownSuite] = {
    "hex-phi": KnownSuite(
        "harmful requests in 10 or 11 policy areas (a CSV, or the folder of category files)",
        _hex_phi,
        "LLM-Tuning-Safety/HEx-PHI",
        None,
    ),
    "advbench": KnownSuite("harmful requests (CSV with goal)", _harmful("advbench"), "walledai/AdvBench", "train"),
    "strongreject": KnownSuite(
        "harmful requests (CSV with category, forbidden_prompt)",
        _harmful("strongreject"),
        "walledai/StrongREJECT",
        "train",
    ),
    "xstest": KnownSuite(
        "look-alikes that should not be refused, and their unsafe contrasts: two suites",
        _xstest,
        "walledai/XSTest",
        "test",
    ),
    "gsm8k": KnownSuite("grade-school maths", _gsm8k, "openai/gsm8k", "test", "main"),
    "hh": KnownSuite("HH-RLHF, pairs of a better and a worse response", _hh, "Anthropic/hh-rlhf", "test"),
    "hh-prompts": KnownSuite("HH-RLHF, its prompts only", _hh_prompts, "Anthropic/hh-rlhf", "test"),
    "slimorca": KnownSuite("open-ended requests", _slimorca, "Open-Orca/SlimOrca", "train"),
}
"""The named sets."""
