"""The first pass over the data: read and check every row before the model runs.

It counts and hashes the rows, samples warm-up rows and the `--sample`, and finds prompts that are also in the pool.
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
"""Largest number of distinct kinds. Rows of further kinds are counted together, to limit memory."""
OTHER_KINDS = "(other kinds)"
UNKNOWN_KIND = "(no kind)"


@dataclass
class Survey:
    """Result of the first pass.

    Attributes:
        rows: Number of rows.
        sha256: Hash of ids, kinds, prompts and responses, in order.
        kinds: Number of rows by kind, for at most `MOST_KINDS` kinds.
        risky: Number of rows labeled risky.
        other_kinds: Number of rows with a response that are not labeled risky, by kind.
        warmup: Conversations sampled for the warm-up, in order of use.
        drawn: Row numbers of the sample, ascending; None for all rows.
        overlap: Maps (set, id) of a pool conversation whose prompt is also in the data to the id of such a row.
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
        """Number of rows to score."""
        return self.rows if self.drawn is None else len(self.drawn)

    def count(self, row: TaskRow, settings: AuditSettings) -> None:
        """Count a row."""
        kind = row.conversation["kind"] or UNKNOWN_KIND
        if kind in self.kinds or len(self.kinds) < MOST_KINDS:
            self.kinds[kind] += 1
        self.rows += 1
        if settings.is_risky(row.id, row.conversation["kind"]):
            self.risky += 1
        elif kind in self.kinds and not row.lacks:
            self.other_kinds[kind] += 1

    def kind_of(self, row: TaskRow) -> str:
        """The kind under which a row is counted."""
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
        pool: Named sets of conversations whose prompts are searched in the data.
        settings: Settings of the audit.
        render: Renders a row with a response as text; raises for a row that it cannot render. Its second argument
            names the row in messages.
        warmup_rows: Number of rows to sample for the warm-up; all rows if there are fewer.
        seed: Seed of the samples.
        quiet: No progress bar.

    Raises:
        DataError: A row cannot be read or rendered, there are no rows, no row has a response, or none of the given
            risky ids is in the data.
    """
    pool_prompts = defaultdict[str, list[tuple[str, str]]](list)
    for name, conversations in pool.items():
        for one in conversations:
            pool_prompts[normalized_prompt(one["prompt"])].append((name, one["id"]))
    survey, digest = Survey(), hashlib.sha256()
    warmup = _Reservoir(warmup_rows, f"warm-up/{seed}")
    sample = None if settings.sample is None else _Reservoir(settings.sample, f"sample/{seed}")
    matched: set[str] = set()
    left_out = Counter[str]()
    total = None if quiet else rows.expected()
    for row in tqdm(rows, total=total, desc="Reading the data", unit="row", leave=False, disable=quiet):
        conversation = row.conversation
        left_out.update(row.left_out)
        survey.count(row, settings)
        if not row.lacks and response_of(conversation).strip():
            render(conversation, f"task row {row.number} (id {row.id!r})")
        content = [conversation[name] for name in ("id", "kind", "category", "prompt", "completion")]
        content += [conversation[name] for name in TEMPLATE_COLUMNS if conversation.get(name)]
        digest.update(json.dumps(content, ensure_ascii=True).encode() + b"\n")
        if row.id in settings.risky_ids:
            matched.add(row.id)
        for key in pool_prompts.get(normalized_prompt(conversation["prompt"]), ()):
            survey.overlap.setdefault(key, row.id)
        if not row.lacks:
            warmup.add(conversation)
        if sample is not None:
            sample.add(row.number)
    survey.sha256, survey.warmup = digest.hexdigest(), warmup.drawn()
    survey.drawn = None if sample is None else sorted(sample.drawn())
    if left_out:
        logger.warning("columns of the data left out (rows): %s", counted(left_out))
    _check(survey, rows, settings, matched)
    return survey


def _check(survey: Survey, rows: TaskRows, settings: AuditSettings, matched: set[str]) -> None:
    named = ", ".join(rows.sources) or "the task data"
    if not survey.rows:
        raise DataError(f"{named} contains no rows: add at least one")
    if not survey.warmup:
        raise DataError(
            f"{named}: none of the {survey.rows:,} rows has both a prompt and a response: check its columns"
        )
    missing = settings.risky_ids - matched
    if settings.risky_ids and not matched:
        raise DataError(
            f"none of the {len(missing):,} risky ids is in the data (the first: {min(missing)}): list ids of "
            "task rows, one per line"
        )
    if missing:
        logger.warning("%d of %d risky ids are not in the data", len(missing), len(settings.risky_ids))


class _Reservoir:
    """Uniform sample of a fixed size from a stream (Vitter 1985, algorithm R), in random order."""

    def __init__(self, size: int, seed: str) -> None:
        self._size, self._random = size, random.Random(seed)  # noqa: S311 - sampling, not security
        self._kept: list[Any] = []
        self._seen = 0

    def add(self, one: Any) -> None:
        self._seen += 1
        if len(self._kept) < self._size:
            self._kept.append(one)
        elif (index := self._random.randrange(self._seen)) < self._size:
            self._kept[index] = one

    def drawn(self) -> list[Any]:
        self._random.shuffle(self._kept)
        return self._kept
