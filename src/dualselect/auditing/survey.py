"""The first pass over the data: everything is read and checked once, before the model has to work.

It counts the rows, hashes them, draws those of the warm-up and of a sample, and finds what stands in the pool too.
"""

import hashlib
import json
import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset
from tqdm import tqdm

from dualselect.auditing.rows import TaskRow, TaskRows
from dualselect.auditing.settings import AuditSettings
from dualselect.data.checks import normalized_prompt
from dualselect.data.conversations import TEMPLATE_COLUMNS, counted
from dualselect.data.rendering import response_of
from dualselect.errors import DataError


logger = logging.getLogger(__name__)

MOST_KINDS = 40
"""Kinds that are told apart; the rows of all later ones are one kind, so that memory does not grow with them."""
OTHER_KINDS = "(other kinds)"
UNKNOWN_KIND = "(no kind)"


@dataclass
class Survey:
    """What the first pass found.

    Attributes:
        rows: Rows in the data.
        sha256: Hash of ids, kinds, prompts and responses, in order.
        kinds: Rows of each kind that has a name of its own.
        risky: Rows that are known to be risky.
        other_kinds: Of each kind with a name of its own the rows that are not and have a response.
        warmup: Conversations drawn for the warm-up, in the order of their use.
        drawn: Numbers of the rows of a sample, ascending; None for all rows.
        overlap: For each conversation of the pool whose prompt stands in the data too, by its set and its id, the id
            of a row.
    """

    rows: int = 0
    sha256: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    risky: int = 0
    other_kinds: Counter[str] = field(default_factory=Counter)
    warmup: list[dict[str, Any]] = field(default_factory=list)
    drawn: list[int] | None = None
    overlap: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def scored_rows(self) -> int:
        """Rows that are to be scored."""
        return self.rows if self.drawn is None else len(self.drawn)

    def count(self, row: TaskRow, settings: AuditSettings) -> None:
        """Count a row and its kind."""
        kind = row.conversation["kind"] or UNKNOWN_KIND
        if kind in self.kinds or len(self.kinds) < MOST_KINDS:
            self.kinds[kind] += 1
        self.rows += 1
        if settings.is_risky(row.id, row.conversation["kind"]):
            self.risky += 1
        elif kind in self.kinds and not row.lacks:
            self.other_kinds[kind] += 1

    def kind_of(self, row: TaskRow) -> str:
        """What a row is counted as."""
        kind = row.conversation["kind"] or UNKNOWN_KIND
        return kind if kind in self.kinds else OTHER_KINDS


def survey_rows(
    rows: TaskRows,
    pool: Mapping[str, Dataset],
    settings: AuditSettings,
    render: Callable[[Mapping[str, Any], str], Any],
    *,
    warmup_rows: int,
    seed: int,
    quiet: bool,
) -> Survey:
    """Read all rows once.

    Args:
        rows: The data.
        pool: Sets of conversations, by name, whose prompts are looked for in the data.
        settings: What is asked for.
        render: Called with each row that has a response, and what a message calls it; what it cannot write as text
            it refuses.
        warmup_rows: Rows to draw for the warm-up; fewer are drawn from smaller data.
        seed: Of the draws.
        quiet: No progress bar.

    Raises:
        DataError: A row cannot be read or rendered; there is no row; none can be learned from; none has a given risky
            id.
    """
    known = defaultdict[str, list[tuple[str, str]]](list)
    for name, conversations in pool.items():
        for one in conversations:
            known[normalized_prompt(one["prompt"])].append((name, one["id"]))
    found, digest = Survey(), hashlib.sha256()
    warmup = _Reservoir(warmup_rows, f"warm-up/{seed}")
    sample = None if settings.sample is None else _Reservoir(settings.sample, f"sample/{seed}")
    matched: set[str] = set()
    left_out = Counter[str]()
    total = None if quiet else rows.expected()
    for row in tqdm(rows, total=total, desc="Reading the data", unit="row", leave=False, disable=quiet):
        conversation = row.conversation
        left_out.update(row.left_out)
        found.count(row, settings)
        if not row.lacks and response_of(conversation).strip():
            render(conversation, f"task row {row.number} (id {row.id!r})")
        content = [conversation[name] for name in ("id", "kind", "category", "prompt", "completion")]
        content += [conversation[name] for name in TEMPLATE_COLUMNS if conversation.get(name)]
        digest.update(json.dumps(content, ensure_ascii=True).encode() + b"\n")
        if row.id in settings.risky_ids:
            matched.add(row.id)
        for same in known.get(normalized_prompt(conversation["prompt"]), ()):
            found.overlap.setdefault(same, row.id)
        if not row.lacks:
            warmup.offer(conversation)
        if sample is not None:
            sample.offer(row.number)
    found.sha256, found.warmup = digest.hexdigest(), warmup.drawn()
    found.drawn = None if sample is None else sorted(sample.drawn())
    if left_out:
        logger.warning("columns of the data left out (rows): %s", counted(left_out))
    _check(found, rows, settings, matched)
    return found


def _check(found: Survey, rows: TaskRows, settings: AuditSettings, matched: set[str]) -> None:
    named = ", ".join(rows.sources) or "the task data"
    if not found.rows:
        raise DataError(f"{named}: holds no rows: write at least one into it")
    if not found.warmup:
        raise DataError(f"{named}: none of {found.rows:,} rows has both a prompt and a response: check its columns")
    missing = settings.risky_ids - matched
    if settings.risky_ids and not matched:
        raise DataError(
            f"none of the {len(missing):,} ids of risky rows stands in the data (the first: {min(missing)}): write "
            "the ids of the rows, one a line"
        )
    if missing:
        logger.warning("%d of %d ids of risky rows stand in no row", len(missing), len(settings.risky_ids))


class _Reservoir:
    """A uniform draw of a fixed size from a stream (Vitter 1985, algorithm R), in random order."""

    def __init__(self, size: int, seed: str) -> None:
        self._size, self._random = size, random.Random(seed)  # noqa: S311 - draws rows, protects nothing
        self._kept: list[Any] = []
        self._seen = 0

    def offer(self, one: Any) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(one)
        elif (place := self._random.randrange(self._seen)) < self._size:
            self._kept[place] = one

    def drawn(self) -> list[Any]:
        self._random.shuffle(self._kept)
        return self._kept
