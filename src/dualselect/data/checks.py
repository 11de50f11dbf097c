"""Checks across data sets, and of tokens against the embeddings of a model."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dualselect.errors import DataError, ModelError


logger = logging.getLogger(__name__)


def references_apart(task: Dataset, references: Dataset, *, allow: bool, most: float, examples: int = 3) -> list[int]:
    """Positions of the references whose prompt does not stand in the task data too.

    The one rule for shared prompts: a few such references are left out with a warning, more are refused.

    Args:
        task: Rows with `prompt`, text or turns; `id` is used where there is one.
        references: The same.
        allow: Whether shared prompts are accepted; all references are kept then, and the shared ones are counted.
        most: Largest share of the references that may be left out, in [0, 1]. One reference of several may be left
            out whatever their number, unless it is 0.
        examples: How many pairs a message names.

    Raises:
        DataError: More than that share a prompt, or all of them, and `allow` is off.
    """
    shared = _shared(task, references)
    if not shared:
        return list(range(len(references)))
    count = f"{len(shared):,} of {len(references):,} references"
    if allow:
        logger.warning("%s share their prompt with a task row (kept: allow_prompt_overlap)", count)
        return list(range(len(references)))
    named = [f"reference {reference!r} = task {row!r}" for reference, row in list(shared.values())[:examples]]
    pairs = ", ".join(named) + (", ..." if len(shared) > examples else "")
    if len(shared) > (max(1, int(most * len(references))) if most else 0) or len(shared) == len(references):
        raise DataError(
            f"{count} have a prompt that also stands in the task data ({pairs}): such references protect what the "
            f"task teaches differently, and at most {most:.0%} of a pool are left out for it. Remove them from one of "
            "the two, raise max_shared_references, or set allow_prompt_overlap: true to keep them"
        )
    logger.warning("left out %s, whose prompt also stands in the task data (%s)", count, pairs)
    return [position for position in range(len(references)) if position not in shared]


def check_overlap(task: Dataset, references: Dataset, *, allow: bool) -> int:
    """Count the references whose prompt also stands in the task data.

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


def check_special_tokens(
    tokenizer: PreTrainedTokenizerBase, embedding_rows: int, *, pad_token: str | None = None
) -> None:
    """Refuse a tokenizer whose padding, start or end token has no row in the embeddings of the model.

    Args:
        tokenizer: The tokenizer.
        embedding_rows: Rows of the input embeddings.
        pad_token: The padding token that the settings name; None for the tokenizer's own, else its end token.

    Raises:
        ModelError: There is such a token; the message says what to set.
    """
    padding = pad_token or tokenizer.pad_token or tokenizer.eos_token
    for setting, token in (
        ("pad_token", padding),
        ("eos_token", tokenizer.eos_token),
        ("bos_token", tokenizer.bos_token),
    ):
        number = tokenizer.convert_tokens_to_ids(token) if token else None
        if number is None or number < embedding_rows:
            continue
        end = tokenizer.eos_token
        instead = end if setting == "pad_token" and end and tokenizer.eos_token_id < embedding_rows else None
        fix = f"set {setting}: {instead!r}, or" if instead else "Use the tokenizer that belongs to the model, or"
        raise ModelError(
            f"{setting} {token!r} of the tokenizer has the id {number}, and the model has embeddings for the ids 0 to "
            f"{embedding_rows - 1}: {fix} enlarge them first with model.resize_token_embeddings({number + 1})"
        )


def check_token_ids(largest: int, tokenizer: PreTrainedTokenizerBase, embedding_rows: int, name: str) -> None:
    """Refuse rows with a token that has no row in the embeddings of the model.

    Args:
        largest: The largest token id of the rows.
        tokenizer: The tokenizer.
        embedding_rows: Rows of the input embeddings.
        name: What the message calls the rows.

    Raises:
        ModelError: `largest` has no row.
    """
    if largest >= embedding_rows:
        known = largest < len(tokenizer)
        token = f" ({tokenizer.convert_ids_to_tokens(largest)!r})" if known else ""
        raise ModelError(
            f"{name}: the rows hold the token id {largest}{token}, and the model has embeddings for the ids 0 to "
            f"{embedding_rows - 1}: use the tokenizer that belongs to the model, or enlarge them first with "
            f"model.resize_token_embeddings({largest + 1})"
        )
