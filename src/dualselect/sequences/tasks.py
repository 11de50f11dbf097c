"""The tasks of a sequence: their rows, written once, and how each is evaluated.

tasks/NAME/train.jsonl, test.jsonl    conversations
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dualselect.data.checks import normalized_prompt
from dualselect.data.source_rows import is_builtin, mapped_sources, read_sources
from dualselect.data.turns import content_of
from dualselect.errors import ConfigError, DataError
from dualselect.evaluation.suite import Prompt, Suite
from dualselect.evaluation.suites import load_suites
from dualselect.sequences.builtin_tasks import CONVENTIONS, builtin_task
from dualselect.sequences.config import SequenceConfig, TaskConfig
from dualselect.sequences.instance_files import is_instance_file, read_instances
from dualselect.system.files import write_text


HELD_OUT_SHARE, LEAST_HELD_OUT = 0.1, 10
"""Rows that are held out of a task without an evaluation of its own: a tenth, and at least 10."""
COLUMNS = ("id", "prompt", "completion", "kind", "category")


@dataclass(frozen=True)
class Task:
    """One task.

    Attributes:
        name: Its name.
        rows: Its training rows, conversations.
        suite: Its evaluation prompts, each with the response as `answer` and `chosen`.
        settings: Settings of `dualselect train` for this task only.
        file: The file of the training rows.
    """

    name: str
    rows: list[dict[str, Any]]
    suite: Suite
    settings: dict[str, Any]
    file: Path


def load_tasks(config: SequenceConfig) -> dict[str, Task]:
    """Read all tasks, check them, and write their rows.

    Raises:
        DataError: A task has no rows or cannot be read, or an evaluation prompt is a training prompt of any task.
        ConfigError: A task has too few rows to hold some out.
    """
    found = {one.name: _rows(one) for one in config.tasks}
    trained = {
        normalized_prompt(row["prompt"]): (name, row["id"]) for name, (rows, _) in found.items() for row in rows
    }
    tasks = {}
    for one in config.tasks:
        rows, held_out = found[one.name]
        prompts = {row["id"]: normalized_prompt(row["prompt"]) for row in held_out}
        if shared := [(row, trained[prompt]) for row, prompt in prompts.items() if prompt in trained]:
            row, (name, other) = shared[0]
            raise DataError(
                f"task {one.name}: {len(shared)} of {len(held_out)} evaluation prompts are trained on (evaluation row "
                f"{row} is row {other} of task {name}): take them out of one of the two"
            )
        folder = config.folder / "tasks" / one.name
        for name, part in (("train", rows), ("test", held_out)):
            write_text(folder / f"{name}.jsonl", "".join(json.dumps(it, ensure_ascii=False) + "\n" for it in part))
        suite = Suite.of(one.name, "task", [_prompt(row) for row in held_out]).first(config.limit)
        tasks[one.name] = Task(one.name, rows, suite, one.settings, folder / "train.jsonl")
    return tasks


def safety_rows(config: SequenceConfig) -> list[dict[str, Any]]:
    """The safe responses that stay in the memory; empty without a pool."""
    return _read(config.safety.pool, "reference_data") if config.safety.pool else []


def safety_suites(config: SequenceConfig) -> list[Suite]:
    """The suites of safety; empty without any."""
    return load_suites(config.safety.suites) if config.safety.suites else []


def _rows(task: TaskConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training rows and evaluation rows of a task."""
    rows = _read(task.data, f"task {task.name}: data")
    if task.evaluation:
        return rows, _read(task.evaluation, f"task {task.name}: evaluation")
    count = max(LEAST_HELD_OUT, round(HELD_OUT_SHARE * len(rows)))
    if len(rows) < 2 * LEAST_HELD_OUT:
        raise ConfigError(
            f"task {task.name}: {len(rows)} rows are too few to hold {LEAST_HELD_OUT} out for the evaluation: name a "
            "file of evaluation rows, or give more rows"
        )
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:  # rows with one prompt stay on one side
        by_prompt.setdefault(normalized_prompt(row["prompt"]), []).append(row)
    apart: list[dict[str, Any]] = []
    for prompt in sorted(by_prompt, key=lambda it: hashlib.sha256(it.encode()).hexdigest()):
        if len(apart) >= count:
            break
        apart += by_prompt[prompt]
    ids = {row["id"] for row in apart}
    return [row for row in rows if row["id"] not in ids], apart


def _read(sources: Sequence[str], role: str) -> list[dict[str, Any]]:
    """Rows as conversations; `prompt` and `answer` columns are a prompt and its response."""
    if all(len(parts := source.split(":")) == 3 and parts[1] in CONVENTIONS for source in sources):
        return [row for source in sources for row in _builtin(*source.split(":")[1:])]
    if all(is_instance_file(source) for source in sources):
        return [row for source in sources for row in read_instances(source)]
    try:
        dataset = read_sources(sources, role).dataset
    except DataError as error:
        if all(is_builtin(source) for source in sources):
            raise
        try:
            dataset = read_sources(mapped_sources(sources, "completion=answer"), role).dataset
        except DataError:
            raise error from None
    return [{name: row[name] for name in COLUMNS if row.get(name)} for row in dataset]


def _builtin(name: str, split: str) -> list[dict[str, Any]]:
    return builtin_task(name, "train" if split == "train" else "test")


def _prompt(row: Mapping[str, Any]) -> Prompt:
    completion = row["completion"]
    answer = completion if isinstance(completion, str) else content_of(completion[-1])
    prompt = row["prompt"]
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    return Prompt(str(row["id"]), messages, str(row.get("category") or ""), "", answer.strip(), answer)
