"""Whether task data and reference pool may be used together."""

from typing import Any

from datasets import Dataset

from dualselect.errors import DataError


def check_overlap(task: Dataset, references: Dataset, *, allow: bool, examples: int = 3) -> int:
    """Count the references whose prompt is also a task prompt; letter case and white space do not matter.

    Args:
        task: Columns `id` and `prompt`.
        references: Columns `id` and `prompt`.
        allow: Only count.
        examples: How many pairs the message names.

    Raises:
        DataError: There are such references and `allow` is false.
    """
    names = dict(zip(map(normalized_prompt, task["prompt"]), task["id"], strict=True))
    shared = [
        (name, names[prompt])
        for name, prompt in zip(references["id"], map(normalized_prompt, references["prompt"]), strict=True)
        if prompt in names
    ]
    if shared and not allow:
        pairs = "; ".join(f"reference {reference} and task row {row}" for reference, row in shared[:examples])
        raise DataError(
            f"{len(shared)} of {len(references)} references have the prompt of a task row ({pairs}): the pool would "
            "protect what the task teaches differently. Take them out of one of the two, or set "
            "allow_prompt_overlap: true."
        )
    return len(shared)


def normalized_prompt(prompt: Any) -> str:
    """A prompt's turns as one lower-case text with single blanks, so that equal prompts compare equal."""
    turns = prompt if isinstance(prompt, str) else "\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)
    return " ".join(turns.lower().split())
