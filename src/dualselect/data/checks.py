"""Checks across data sets."""

from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset

from dualselect.errors import DataError


def check_overlap(task: Dataset, references: Dataset, *, allow: bool, examples: int = 3) -> int:
    """Count the references whose prompt also stands in the task data.

    Prompts are compared by their user turns, in lower case and with runs of white space as one blank.

    Args:
        task: Rows with `prompt`, text or turns; `id` is used where there is one.
        references: The same.
        allow: Whether shared prompts are accepted.
        examples: How many pairs the message names.

    Returns:
        The number of references with a shared prompt.

    Raises:
        DataError: There are some and `allow` is off.
    """
    task_ids: dict[str, str] = {}
    for prompt, name in _prompts(task):
        task_ids.setdefault(prompt, name)
    shared = [(name, task_ids[prompt]) for prompt, name in _prompts(references) if prompt in task_ids]
    if shared and not allow:
        pairs = ", ".join(f"reference {reference!r} = task {row!r}" for reference, row in shared[:examples])
        raise DataError(
            f"{len(shared):,} of {len(references):,} references have a prompt that also stands in the task data "
            f"({pairs}{', ...' if len(shared) > examples else ''}): such references protect what the task teaches "
            "differently. Remove them from one of the two, or set allow_prompt_overlap: true"
        )
    return len(shared)


def _prompts(rows: Dataset) -> Iterator[tuple[str, str]]:
    ids = rows["id"] if "id" in rows.column_names else range(len(rows))
    for prompt, name in zip(rows["prompt"], ids, strict=True):
        yield normalized_prompt(prompt), str(name)


def normalized_prompt(prompt: str | Sequence[dict[str, Any]]) -> str:
    """What a prompt is compared by: its user turns, in lower case, with runs of white space as one blank."""
    turns = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt if turn["role"] == "user"]
    return "\n".join(" ".join(turn.lower().split()) for turn in turns)
