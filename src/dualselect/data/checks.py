"""Checks across data sets, and of tokens against the embeddings of a model."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dualselect.data.token_columns import largest_token_id
from dualselect.errors import DataError, ModelError


logger = logging.getLogger(__name__)

EXAMPLES = 3
"""Pairs of rows with the same prompt that a message names."""


def references_apart(task: Dataset, references: Dataset, *, allow: bool, most: float) -> list[int]:
    """Positions of the references whose prompt is not in the task data, by the rule of `leave_out_shared`.

    Args:
        task: Rows with `prompt`, text or turns; `id` is used where there is one.
        references: The same.
        allow: As for `leave_out_shared`.
        most: As for `leave_out_shared`.

    Raises:
        DataError: Too many share a prompt.
    """
    return leave_out_shared(_shared(task, references), len(references), allow=allow, most=most)


def leave_out_shared(shared: Mapping[int, tuple[str, str]], count: int, *, allow: bool, most: float) -> list[int]:
    """The one rule for prompts in both data sets: a few such references are left out with a warning, more are refused.

    Args:
        shared: Ids of a reference and of the task row with its prompt, by position of the reference.
        count: References in the pool.
        allow: Whether shared prompts are accepted; all references are kept then, and the shared ones are counted.
        most: Largest share of the references that may be left out, in [0, 1]. One reference of several may be left
            out for any number but 0.

    Returns:
        The positions of the references to keep.

    Raises:
        DataError: More than that share a prompt, or all of them, and `allow` is off.
    """
    if not shared:
        return list(range(count))
    seen = f"{len(shared):,} of {count:,} references"
    if allow:
        logger.warning("%s share their prompt with a task row (kept: allow_prompt_overlap)", seen)
        return list(range(count))
    named = [f"reference {reference!r} = task {row!r}" for reference, row in list(shared.values())[:EXAMPLES]]
    pairs = ", ".join(named) + (", ..." if len(shared) > EXAMPLES else "")
    if len(shared) > (max(1, int(most * count)) if most else 0) or len(shared) == count:
        raise DataError(
            f"{seen} have a prompt that is also in the task data ({pairs}): such references protect what the "
            f"task teaches differently, and at most {most:.0%} of a pool are left out for it. Remove them from one of "
            "the two, raise max_shared_references, or set allow_prompt_overlap: true to keep them"
        )
    logger.warning("left out %s, whose prompt is also in the task data (%s)", seen, pairs)
    return [position for position in range(count) if position not in shared]


def check_overlap(task: Dataset, references: Dataset, *, allow: bool) -> int:
    """Count the references whose prompt is also in the task data.

    Prompts are compared by their user turns, in lower case and with runs of white space as one blank.

    Args:
        task: Rows with `prompt`, text or turns; `id` is used where there is one.
        references: The same.
        allow: Whether shared prompts are accepted.

    Returns:
        The number of references with a shared prompt.

    Raises:
        DataError: There are some and `allow` is off.
    """
    shared = _shared(task, references)
    if shared and not allow:
        references_apart(task, references, allow=False, most=0)
    return len(shared)


def _shared(task: Dataset, references: Dataset) -> dict[int, tuple[str, str]]:
    """Ids of a reference and of the task row with the same prompt, by position of the reference."""
    task_ids: dict[str, str] = {}
    for prompt, name in _prompts(task):
        task_ids.setdefault(prompt, name)
    return {
        position: (name, task_ids[prompt])
        for position, (prompt, name) in enumerate(_prompts(references))
        if prompt in task_ids
    }


def _prompts(rows: Dataset) -> Iterator[tuple[str, str]]:
    ids = rows["id"] if "id" in rows.column_names else range(len(rows))
    for prompt, name in zip(rows["prompt"], ids, strict=True):
        yield normalized_prompt(prompt), str(name)


def normalized_prompt(prompt: str | Sequence[dict[str, Any]]) -> str:
    """What a prompt is compared by: its user turns, in lower case, with runs of white space as one blank."""
    turns = [prompt] if isinstance(prompt, str) else [turn["content"] for turn in prompt if turn["role"] == "user"]
    return "\n".join(" ".join(str(turn or "").lower().split()) for turn in turns)


def check_embeddings(
    model: Any, tokenizer: PreTrainedTokenizerBase, *, pad_token: str | None = None, **tokens: Dataset
) -> None:
    """Refuse tokens that have no row in the input embeddings of a model: padding, start, end, those of the rows.

    Args:
        model: The model.
        tokenizer: The tokenizer.
        pad_token: The padding token that the settings name; None for the tokenizer's own, else its end token.
        **tokens: Rows with `input_ids`, by their name.

    Raises:
        ModelError: There is such a token; the message says what to set.
    """
    count = int(model.get_input_embeddings().weight.shape[0])
    end = tokenizer.eos_token
    numbers = {
        "pad_token": pad_token or tokenizer.pad_token or end,
        "eos_token": end,
        "bos_token": tokenizer.bos_token,
    }
    largest = {name: _number(tokenizer, token) for name, token in numbers.items()}
    largest |= {f"a token of the {name} rows": largest_token_id(rows) for name, rows in tokens.items()}
    for name, number in largest.items():
        if number < count:
            continue
        token = f" ({tokenizer.convert_ids_to_tokens(number)!r})" if number < len(tokenizer) else ""
        fix = (
            f"set pad_token: {end!r} (in Python: tokenizer.pad_token = {end!r})"
            if name == "pad_token" and -1 < _number(tokenizer, end) < count
            else ""
        )
        raise ModelError(
            f"{name} has the id {number}{token}, and the model has embeddings for the ids 0 to {count - 1} only: "
            f"{fix or 'use the tokenizer that belongs to the model'}, or enlarge them first with "
            f"model.resize_token_embeddings({number + 1})"
        )


def _number(tokenizer: PreTrainedTokenizerBase, token: str | None) -> int:
    number = tokenizer.convert_tokens_to_ids(token) if token else None
    return number if isinstance(number, int) else -1
