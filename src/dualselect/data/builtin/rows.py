"""The rows of the built-in data: a fixed set per kind and split, from which a seed chooses and orders."""

from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

from dualselect.data.builtin.chats import chat_examples
from dualselect.data.builtin.compliances import compliance
from dualselect.data.builtin.example import Example, seeded
from dualselect.data.builtin.harmful_topics import TEST_TOPICS, TRAIN_TOPICS
from dualselect.data.builtin.lookalikes import lookalike_examples
from dualselect.data.builtin.refusals import refusal
from dualselect.data.builtin.tasks import task_examples
from dualselect.data.builtin.wordings import TEST_WORDINGS, TRAIN_WORDINGS, share
from dualselect.errors import DataError


Split = Literal["train", "test"]
KINDS: tuple[str, ...] = ("task", "risky", "refusal", "lookalike", "chat")

# Risky and refusal rows share every topic but no request: of four (topic, wording) pairs, one is risky.
_RISKY_PARTS, _REFUSAL_PARTS, _PARTS = (0,), (1, 2, 3), 4


def builtin_rows(kind: str, count: int, *, seed: int = 0, split: Split = "train") -> list[dict[str, Any]]:
    """Rows of one kind, evenly over its categories and then over its topics.

    The seed chooses and orders rows of a fixed set; a row itself, its id included, depends on neither the seed nor
    the count, and the first rows of a larger count are the rows of a smaller one.

    Args:
        kind: One of `KINDS`.
        count: Number of rows, at least 0.
        seed: Which choice and order.
        split: "train", or "test" for held-out prompts whose harmful topics are held out too.

    Returns:
        Rows with `id`, `kind`, `category`, `prompt` and `completion` (lists of one chat message) and `answer` (the
        exact answer of a task, otherwise empty). No two have the same prompt.

    Raises:
        DataError: The kind or split is unknown, or the count is negative or larger than the set.
    """
    examples = _examples(kind, split)
    if not 0 <= count <= len(examples):
        raise DataError(
            f"count={count} built-in rows of kind '{kind}' in split '{split}' cannot be made: "
            f"{len(examples)} distinct prompts are available. Ask for 0 to {len(examples)} rows."
        )
    return [_row(kind, split, index, examples[index]) for index in _order(examples, f"{kind}/{split}/{seed}")[:count]]


def rows_up_to(kind: str, count: int, *, seed: int = 0, split: Split = "train") -> list[dict[str, Any]]:
    """As `builtin_rows`, but all rows of the set if `count` is larger.

    Raises:
        DataError: The kind or split is unknown, or the count is negative.
    """
    return builtin_rows(kind, min(count, len(_examples(kind, split))), seed=seed, split=split)


def builtin_mix(tasks: int, risky: int, lookalikes: int, chats: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Training rows as a careless data set would mix them: tasks, risky rows and harmless hard negatives.

    Args:
        tasks: Number of task rows.
        risky: Number of risky rows.
        lookalikes: Number of harmless rows that look harmful.
        chats: Number of ordinary chat rows.
        seed: Which rows, and in which order.

    Returns:
        Rows as of `builtin_rows`, shuffled.

    Raises:
        DataError: More rows of a kind are asked for than there are.
    """
    counts = {"task": tasks, "risky": risky, "lookalike": lookalikes, "chat": chats}
    rows = [row for kind, count in counts.items() for row in builtin_rows(kind, count, seed=seed)]
    seeded("mix", seed).shuffle(rows)
    return rows


def _risky_examples(split: Split) -> tuple[Example, ...]:
    return _harmful_examples("risky", split)


def _refusal_examples(split: Split) -> tuple[Example, ...]:
    return _harmful_examples("refusal", split)


@cache
def _harmful_examples(kind: Literal["risky", "refusal"], split: Split) -> tuple[Example, ...]:
    topics, wordings = (TRAIN_TOPICS, TRAIN_WORDINGS) if split == "train" else (TEST_TOPICS, TEST_WORDINGS)
    parts = _RISKY_PARTS if kind == "risky" else _REFUSAL_PARTS
    pairs = ((category, topic) for category, its_topics in topics.items() for topic in its_topics)
    examples: list[Example] = []
    for topic_index, (category, topic) in enumerate(pairs):
        for wording in share(topic_index, wordings, parts, _PARTS):
            prompt = wording.format(topic=topic)
            rng = seeded(kind, prompt)
            completion = compliance(topic, rng) if kind == "risky" else refusal(category, topic, rng)
            examples.append(Example(category, topic, prompt, completion))
    return tuple(examples)


_SOURCES: dict[str, Callable[[Split], tuple[Example, ...]]] = {
    "task": task_examples,
    "risky": _risky_examples,
    "refusal": _refusal_examples,
    "lookalike": lookalike_examples,
    "chat": chat_examples,
}


def _examples(kind: str, split: Split) -> tuple[Example, ...]:
    if kind not in _SOURCES:
        raise DataError(f"'{kind}' is not a kind of built-in data. Use one of: {', '.join(KINDS)}.")
    if split not in ("train", "test"):
        raise DataError(f"'{split}' is not a split of the built-in data. Use 'train' or 'test'.")
    return _SOURCES[kind](split)


def _order(examples: tuple[Example, ...], key: str) -> list[int]:
    """A shuffle in which categories take turns, and within a category its topics."""
    rng = seeded(key)
    indices = list(range(len(examples)))
    rng.shuffle(indices)
    uses: Counter[tuple[str, str]] = Counter()
    by_category: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for index in indices:
        example = examples[index]
        topic = (example.category, example.topic)
        by_category[example.category].append((uses[topic], index))
        uses[topic] += 1
    turns: list[tuple[int, float, int]] = []
    for uses_and_indices in by_category.values():
        spread = sorted(uses_and_indices, key=lambda use_and_index: use_and_index[0])
        turns += [(turn, rng.random(), index) for turn, (_, index) in enumerate(spread)]
    return [index for _, _, index in sorted(turns)]


def _row(kind: str, split: Split, index: int, example: Example) -> dict[str, Any]:
    return {
        "id": f"{kind}-{split}-{index:06d}",
        "kind": kind,
        "category": example.category,
        "prompt": [{"role": "user", "content": example.prompt}],
        "completion": [{"role": "assistant", "content": example.completion}],
        "answer": example.answer,
    }
