"""One built-in example before it becomes a row, and the seeded draws that make it."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A request and its response.

    Attributes:
        category: The safety category, the kind of task or the field of the topic.
        topic: What the request is about; examples that share it are spread over the order of the rows.
        prompt: The user's turn.
        completion: The assistant's turn.
        answer: The exact answer of a task, empty otherwise.
    """

    category: str
    topic: str
    prompt: str
    completion: str
    answer: str = ""


def seeded(*key: str | int) -> random.Random:
    """A generator that depends on the key only, the same in every process and on every machine."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - draws texts, protects nothing
