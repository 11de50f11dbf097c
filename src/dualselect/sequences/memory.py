"""The memory: a bounded store of rows of earlier tasks, on disk, which later tasks replay.

memory.jsonl    one line per row: id, kind (the task), prompt, completion, tokens, learned_loss, score
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dualselect.errors import ResumeError
from dualselect.sequences.config import MemoryConfig
from dualselect.system.files import write_text


MEMORY_FILE, LOSSES_FILE = "memory.jsonl", "memory_losses.json"
SAFETY = "safety"
"""Task name of safe responses that stay in the memory."""


@dataclass(frozen=True)
class MemoryRow:
    """One row.

    Attributes:
        id: `TASK/ID`, distinct in the sequence.
        kind: Its task.
        prompt: The turns of the prompt.
        completion: The turns of the response.
        tokens: Supervised tokens.
        learned_loss: Its loss when its task had been learned; None before that is measured.
        score: Mean of its reference scores so far; None before the first one.
    """

    id: str
    kind: str
    prompt: Any
    completion: Any
    tokens: int
    learned_loss: float | None = None
    score: float | None = None


def updated(
    memory: Sequence[MemoryRow], learned: Sequence[MemoryRow], seen: int, config: MemoryConfig, seed: int
) -> list[MemoryRow]:
    """The memory after one more task.

    Which rows stay is decided by a random key of each row, the hash of seed and id. So it does not depend on when it
    is computed, and a resumed sequence has the same memory.

    Args:
        memory: The rows so far, of all earlier tasks.
        learned: All rows of the new task.
        seen: Number of earlier tasks.
        config: Size and policy.
        seed: Seed of the random keys.

    Returns:
        At most `config.rows` rows with at most `config.tokens` supervised tokens, in the order of their keys.
    """
    kept = [row for row in memory if row.kind != SAFETY]
    if config.policy == "reservoir":  # the rows with the smallest keys are a uniform sample of all rows seen
        chosen = sorted([*kept, *learned], key=lambda row: _key(row, seed))[: config.rows]
    else:
        share = max(1, config.rows // (seen + 1))
        new = sorted(learned, key=lambda row: _key(row, seed))[:share]
        chosen = new + _of_each_task(kept, config.rows - len(new), config, seed)
    return _within_tokens(sorted(chosen, key=lambda row: _key(row, seed)), config.tokens)


def _of_each_task(rows: Sequence[MemoryRow], most: int, config: MemoryConfig, seed: int) -> list[MemoryRow]:
    """At most so many rows: in `scored` those with the highest scores, else the same number of each task."""
    if config.policy == "scored":
        # rows without a score stay: nothing is known of them yet
        return sorted(rows, key=lambda row: (row.score is not None, -(row.score or 0.0), _key(row, seed)))[:most]
    tasks = list(dict.fromkeys(row.kind for row in rows))
    kept: list[MemoryRow] = []
    for number, task in enumerate(tasks):
        share = -(-(most - len(kept)) // (len(tasks) - number))
        kept += sorted((row for row in rows if row.kind == task), key=lambda row: _key(row, seed))[:share]
    return kept


def _within_tokens(rows: Sequence[MemoryRow], most: int | None) -> list[MemoryRow]:
    """Take turns among the tasks until the tokens are used up."""
    if most is None:
        return list(rows)
    by_task: dict[str, list[MemoryRow]] = {}
    for row in rows:
        by_task.setdefault(row.kind, []).append(row)
    turns = sorted((place, task) for task, its in by_task.items() for place in range(len(its)))
    kept, used = set(), 0
    for place, task in turns:
        row = by_task[task][place]
        if used + row.tokens <= most:
            kept.add(row.id)
            used += row.tokens
    return [row for row in rows if row.id in kept]


def _key(row: MemoryRow, seed: int) -> str:
    return hashlib.sha256(f"{seed} {row.id}".encode()).hexdigest()


def with_scores(memory: Sequence[MemoryRow], log: Iterable[Mapping[str, Any]]) -> list[MemoryRow]:
    """The rows with the mean of their reference scores over the refreshes of a run, joined with their earlier score.

    Args:
        memory: The rows that were the pool of the run.
        log: The run's selection log.
    """
    found: dict[str, list[float]] = {row.id: [] if row.score is None else [row.score] for row in memory}
    for line in log:
        if line["event"] == "refresh":
            for name, score in zip(line["ids"], line["scores"], strict=True):
                if name in found:
                    found[name].append(score)
    return [replace(row, score=sum(it) / len(it) if (it := found[row.id]) else None) for row in memory]


def write_memory(folder: Path, memory: Sequence[MemoryRow]) -> Path:
    """Write the rows, and the losses of those that have one, and return the file of the rows."""
    lines = [json.dumps(asdict(row), ensure_ascii=False) for row in memory]
    losses = {row.id: row.learned_loss for row in memory if row.learned_loss is not None}
    write_text(folder / LOSSES_FILE, json.dumps(losses))
    write_text(folder / MEMORY_FILE, "".join(line + "\n" for line in lines))
    return folder / MEMORY_FILE


def read_memory(folder: Path) -> list[MemoryRow]:
    """The rows of `write_memory`.

    Raises:
        ResumeError: The file is missing or broken.
    """
    try:
        text = (folder / MEMORY_FILE).read_text(encoding="utf-8")
        return [MemoryRow(**json.loads(line)) for line in text.splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise ResumeError(f"{folder / MEMORY_FILE} is missing or broken ({error}): restore it") from error
