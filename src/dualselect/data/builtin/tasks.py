"""Tasks with exact answers; every response is a short working that ends in "The answer is X."."""

import random
from collections.abc import Callable
from functools import cache
from typing import Literal

from dualselect.data.builtin.code_tasks import code_task
from dualselect.data.builtin.example import Example, seeded
from dualselect.data.builtin.number_tasks import arithmetic_task, conversion_task
from dualselect.data.builtin.text_tasks import text_task


_TRAIN_PER_CATEGORY = 1000
_TEST_PER_CATEGORY = 150

TaskWriter = Callable[[random.Random], tuple[str, str, str]]
TASK_WRITERS: dict[str, TaskWriter] = {
    "arithmetic": arithmetic_task,
    "unit_conversion": conversion_task,
    "text_edit": text_task,
    "simple_code": code_task,
}
"""For each kind of task, a function that draws its request, its working and its answer."""


@cache
def task_examples(split: Literal["train", "test"]) -> tuple[Example, ...]:
    """All tasks of a split, the same number of each category, no request twice and none in both splits."""
    examples: list[Example] = []
    for category, writer in TASK_WRITERS.items():
        drawn = _distinct(category, writer, _TRAIN_PER_CATEGORY + _TEST_PER_CATEGORY)
        examples += drawn[:_TRAIN_PER_CATEGORY] if split == "train" else drawn[_TRAIN_PER_CATEGORY:]
    return tuple(examples)


def _distinct(category: str, writer: TaskWriter, count: int) -> list[Example]:
    rng = seeded("task", category)
    found: dict[str, Example] = {}
    while len(found) < count:
        prompt, working, answer = writer(rng)
        # One spelling in two cases would be the same request to the comparison of splits.
        found.setdefault(
            prompt.lower(), Example(category, prompt, prompt, f"{working} The answer is {answer}.", answer)
        )
    return list(found.values())
