"""From conversations to tokens, with exactly the response supervised.

The whole text is tokenized once, and a token is supervised when it ends behind the prompt's text. A token that joins
the blank before the response to its first word is therefore supervised, and so is the end-of-turn token. (Tokenizing
the prompt alone and counting, as is often done, masks that first token: the one that decides a refusal.)
"""

from dataclasses import dataclass
from typing import Any, Literal

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dualselect.errors import ConfigError, DataError, ModelError
from dualselect.losses import IGNORED_LABEL


PromptFormat = Literal["chat", "human_assistant"]
MaskMode = Literal["exact", "legacy"]
SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant", "tool": "Tool"}


@dataclass(frozen=True)
class TokenReport:
    """What tokenizing kept, cut and dropped.

    Attributes:
        name: What the data set is called.
        rows_in: Rows given.
        rows_kept: Rows with at least one supervised token.
        empty_responses: Ids of rows dropped because their response is blank.
        without_supervision: Ids of rows dropped because max_length cut the whole response.
        truncated_rows: Rows kept that lost tokens to max_length.
        truncated_tokens: Tokens that they lost.
        supervised_tokens: Tokens with a label, of the rows kept.
        total_tokens: Tokens of the rows kept.
    """

    name: str
    rows_in: int
    rows_kept: int
    empty_responses: list[str]
    without_supervision: list[str]
    truncated_rows: int
    truncated_tokens: int
    supervised_tokens: int
    total_tokens: int

    def describe(self) -> str:
        """One paragraph for a terminal."""
        lines = [
            f"{self.name}: {self.rows_kept:,} of {self.rows_in:,} rows, {self.total_tokens:,} tokens, "
            f"{self.supervised_tokens:,} of them supervised"
        ]
        for ids, why in (
            (self.empty_responses, "their response is empty"),
            (self.without_supervision, "max_length leaves nothing of their response"),
        ):
            if ids:
                more = ", ..." if len(ids) > 5 else ""
                lines.append(f"  dropped {len(ids):,} rows: {why} ({', '.join(ids[:5])}{more})")
        if self.truncated_rows:
            lines.append(f"  cut {self.truncated_tokens:,} tokens off {self.truncated_rows:,} rows at max_length")
        return "\n".join(lines)


@dataclass(frozen=True)
class TokenizedRows:
    """Tokenized rows (`input_ids`, `labels`, `row_index`, `id`, `kind`, `category`) and the report on them."""

    dataset: Dataset
    report: TokenReport


def tokenize(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    prompt_format: PromptFormat = "chat",
    mask_mode: MaskMode = "exact",
    name: str = "task",
    num_proc: int | None = None,
) -> TokenizedRows:
    """Tokenize conversations; label -100 marks what is not supervised.

    Args:
        dataset: Columns `prompt` and `completion`, lists of turns, or plain strings that get no template; `id`,
            `kind` and `category`.
        tokenizer: A fast tokenizer; with a chat template for `chat`.
        max_length: Longest row in tokens; longer ones keep their first. None: no limit.
        prompt_format: The model's chat template, or "Human: ...\\nAssistant: ... <eos>" lines.
        mask_mode: `exact`, or `legacy` for the published off-by-one (human_assistant only).
        name: What the messages call the data set.
        num_proc: Processes.

    Returns:
        The rows that have a supervised token; `row_index` is the position in `dataset`.

    Raises:
        ModelError: The tokenizer has no chat template or no offsets.
        DataError: No row is left, or the template renders a prompt differently with its response.
    """
    _check_tokenizer(tokenizer, prompt_format, mask_mode, plain=isinstance(dataset[0]["prompt"], str))

    def encode(row: dict[str, Any], index: int) -> dict[str, Any]:
        ids, labels, full = _encode(row, tokenizer, prompt_format, mask_mode, max_length)
        return {"input_ids": ids, "labels": labels, "row_index": index, "full_length": full}

    kept = ["id", "kind", "category"]
    encoded = dataset.map(
        encode,
        with_indices=True,
        num_proc=num_proc,
        remove_columns=[column for column in dataset.column_names if column not in kept],
        load_from_cache_file=False,
        desc=f"Tokenizing {name} rows",
    )
    return _report(dataset, encoded, name, max_length)


def _check_tokenizer(
    tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat, mask_mode: MaskMode, *, plain: bool
) -> None:
    if mask_mode == "legacy" and prompt_format != "human_assistant":
        raise ConfigError("mask_mode: legacy is defined for prompt_format: human_assistant only; use mask_mode: exact")
    if not tokenizer.is_fast:
        raise ModelError(
            f"{type(tokenizer).__name__} is a slow tokenizer without offsets, so the response boundary cannot be "
            "found exactly; load the fast one (AutoTokenizer.from_pretrained(..., use_fast=True))"
        )
    if prompt_format == "chat" and not plain and not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template: set prompt_format: "
            "human_assistant, or give it a template with chat_template_path"
        )


def _encode(
    row: dict[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat,
    mask_mode: MaskMode,
    max_length: int | None,
) -> tuple[list[int], list[int], int]:
    special = True
    if isinstance(row["prompt"], str):
        prompt, text = row["prompt"], row["prompt"] + row["completion"] + str(tokenizer.eos_token or "")
        blank = not row["completion"].strip()
    else:
        blank = not row["completion"][-1]["content"].strip()
        if prompt_format == "human_assistant":
            prompt = human_assistant_prompt(row["prompt"])
            text = f"{prompt}{row['completion'][-1]['content']} {tokenizer.eos_token}"
        else:
            prompt, text = _rendered(row, tokenizer)
            special = False
    if blank:
        return [], [], 0
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
    ids: list[int] = found["input_ids"]
    if mask_mode == "legacy":
        masked = len(tokenizer(prompt)["input_ids"])
        labels = [IGNORED_LABEL] * masked + ids[masked:]
    else:
        ends = [end for _, end in found["offset_mapping"]]
        labels = [token if end > len(prompt) else IGNORED_LABEL for token, end in zip(ids, ends, strict=True)]
    # the first token of a sequence is never predicted, so a label there would supervise nothing
    labels[0] = IGNORED_LABEL
    return ids[:max_length], labels[:max_length], len(ids)


def human_assistant_prompt(turns: list[dict[str, str]]) -> str:
    """The turns before the response as "Human: ...\\nAssistant: ..." lines, up to "Assistant: "."""
    return "".join(f"{SPEAKERS[turn['role']]}: {turn['content']}\n" for turn in turns) + "Assistant: "


def _rendered(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> tuple[str, str]:
    prompt = str(tokenizer.apply_chat_template(row["prompt"], tokenize=False, add_generation_prompt=True))
    text = str(tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False))
    if text.startswith(prompt):
        return prompt, text
    trimmed = prompt.rstrip()
    if text.startswith(trimmed):  # the template leaves out the blank that it ends a prompt with
        return trimmed, text
    shared = next((place for place, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), len(prompt))
    raise DataError(
        f"row {row.get('id', '')}: the chat template writes this prompt differently once the response follows (it ends "
        f"with {prompt[shared:][:40]!r}, then {text[shared:][:40]!r}), so the start of the response is not defined. "
        "Use another template (chat_template_path) or prompt_format: human_assistant."
    )


def _report(dataset: Dataset, encoded: Dataset, name: str, max_length: int | None) -> TokenizedRows:
    keep, empty, unsupervised, needed = [], [], [], []
    cut_rows = cut_tokens = supervised = total = 0
    for index, (identity, labels, full) in enumerate(
        zip(encoded["id"], encoded["labels"], encoded["full_length"], strict=True)
    ):
        count = sum(label != IGNORED_LABEL for label in labels)
        if count:
            keep.append(index)
            supervised, total = supervised + count, total + len(labels)
            cut_rows, cut_tokens = cut_rows + (full > len(labels)), cut_tokens + full - len(labels)
        elif full:
            unsupervised.append(identity)
            needed.append(full)
        else:
            empty.append(identity)
    if not keep:
        raise DataError(_nothing_left(name, len(dataset), max_length, needed))
    report = TokenReport(
        name, len(dataset), len(keep), empty, unsupervised, cut_rows, cut_tokens, supervised, total
    )
    rows = encoded if len(keep) == len(encoded) else encoded.select(keep)
    return TokenizedRows(rows.remove_columns("full_length"), report)


def _nothing_left(name: str, rows: int, max_length: int | None, needed: list[int]) -> str:
    if not needed:
        return f"{name}: all {rows} rows have an empty response; check which column the response is in"
    return (
        f"{name}: max_length {max_length} cuts the whole response of all {rows} rows; the shortest has {min(needed)} "
        f"tokens with its response. Raise max_length."
    )
