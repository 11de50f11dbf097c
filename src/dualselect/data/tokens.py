"""Rows of text to tokens, with labels on the response and nowhere else.

Shapes: T is the number of tokens of a row.
"""

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datasets import Dataset, Features, List, Value
from datasets.fingerprint import generate_random_fingerprint
from transformers import PreTrainedTokenizerBase

from dualselect.data.ids import row_id
from dualselect.data.rendering import ChatText, HumanAssistantText, PlainText, Rendered, renderer, response_of
from dualselect.errors import ConfigError, DataError, ModelError


IGNORED_LABEL = -100
"""Label of a token that is not supervised; the same value as in transformers and TRL."""

PromptFormat = Literal["chat", "human_assistant"]
MaskMode = Literal["exact", "legacy"]

_COUNTS = ("all_tokens", "first_supervised")
_FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "id": Value("string"),
        "kind": Value("string"),
        "category": Value("string"),
        "row_index": Value("int64"),
        **{count: Value("int64") for count in _COUNTS},
    }
)


@dataclass(frozen=True)
class TokenReport:
    """What became of the rows of a data set when they were tokenized.

    Attributes:
        name: What the data set is called.
        rows_in: Rows given.
        rows_kept: Rows with at least one supervised token.
        empty_responses: Ids of rows dropped because their response is blank.
        without_supervision: Ids of rows dropped because `max_length` cut the whole response.
        truncated_rows: Kept rows that were cut to the longest length.
        truncated_tokens: Tokens cut from them.
        supervised_tokens: Tokens with a label in the kept rows.
        total_tokens: Tokens in the kept rows.
    """

    name: str
    rows_in: int
    rows_kept: int
    empty_responses: tuple[str, ...]
    without_supervision: tuple[str, ...]
    truncated_rows: int
    truncated_tokens: int
    supervised_tokens: int
    total_tokens: int

    def describe(self) -> str:
        """A few lines for the terminal."""
        lines = [
            f"{self.name}: {self.rows_kept:,} of {self.rows_in:,} rows, {self.total_tokens:,} tokens, "
            f"{self.supervised_tokens:,} of them supervised"
        ]
        for ids, reason in (
            (self.empty_responses, "an empty response"),
            (self.without_supervision, "no response token within max_length"),
        ):
            if ids:
                more = ", ..." if len(ids) > 5 else ""
                lines.append(f"  dropped {len(ids):,} rows with {reason} (ids: {', '.join(ids[:5])}{more})")
        if self.truncated_rows:
            lines.append(f"  truncated: {self.truncated_rows:,} rows, {self.truncated_tokens:,} tokens cut")
        return "\n".join(lines)


@dataclass(frozen=True)
class TokenizedRows:
    """Tokens and the report of how they were made.

    Attributes:
        dataset: `input_ids` and `labels` (T each; -100 where not supervised), `id`, `kind`, `category`, and
            `row_index`, the row's position in the data set given.
        report: What was cut and dropped.
    """

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
    """Tokenize rows once each, as one text, and supervise the response with its end-of-turn token.

    A token is supervised when it holds a character of the response, so one that merges the blank before the response
    with its first word is. The first token of a row is not: nothing predicts it. Nothing is cached.

    Args:
        dataset: Rows with `prompt` and `completion`, turns or plain text (which gets no template); `id`, `kind`,
            `category`, `tools` and `chat_template_kwargs` are used where there are any.
        tokenizer: A fast tokenizer.
        max_length: Longest row in tokens, at least 2; longer ones keep their first tokens. None: no limit.
        prompt_format: The chat template, or the lines "Human: ..." and "Assistant: ...".
        mask_mode: `exact`, or `legacy`: mask as many tokens as the prompt has when it is tokenized alone, which
            loses the first response token, as the authors' script does (arXiv 2606.09866).
        name: What messages and the progress bar call the rows.
        num_proc: Processes to use.

    Raises:
        ConfigError: The settings contradict each other.
        DataError: A row cannot be rendered, or none has a supervised token within `max_length`.
        ModelError: The tokenizer has no template, end token or character offsets.
    """
    if mask_mode == "legacy" and prompt_format != "human_assistant":
        raise ConfigError(
            f"mask_mode: legacy reproduces a mistake in human_assistant text and prompt_format is {prompt_format}: "
            "set prompt_format: human_assistant, or mask_mode: exact"
        )
    if max_length is not None and max_length < 2:
        raise ConfigError(f"max_length is {max_length}: set it to at least 2 tokens, or to null for no limit")
    _check_columns(dataset, name)
    batch = batch_tokenizer(
        tokenizer,
        max_length=max_length,
        prompt_format=prompt_format,
        mask_mode=mask_mode,
        name=name,
        plain=isinstance(dataset[0]["prompt"], str),
    )
    tokens = dataset.with_format(None).map(
        batch,
        batched=True,
        with_indices=True,
        remove_columns=dataset.column_names,
        features=_FEATURES,
        num_proc=num_proc,
        desc=f"Tokenizing {name}",
        keep_in_memory=True,
        load_from_cache_file=False,
        new_fingerprint=generate_random_fingerprint(),
    )
    return _kept(tokens, max_length, name)


def batch_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    prompt_format: PromptFormat = "chat",
    mask_mode: MaskMode = "exact",
    name: str = "task",
    plain: bool = False,
) -> Callable[[Mapping[str, Sequence[Any]], Sequence[int]], dict[str, list[Any]]]:
    """Tokenizes rows as `tokenize` does, a batch at a time and for a stream of rows; drops none.

    Args:
        tokenizer: A fast tokenizer.
        max_length: As for `tokenize`.
        prompt_format: As for `tokenize`.
        mask_mode: As for `tokenize`.
        name: What messages call the rows.
        plain: Whether the rows are plain text, which gets no template.

    Returns:
        From columns of rows (`prompt`, `completion`, ...) and their numbers to columns of tokens, among them
        `input_ids` and `labels`; a row without a response has no tokens.

    Raises:
        ModelError: The tokenizer has no template, end token or character offsets.
    """
    text = renderer(tokenizer, prompt_format, plain=plain)
    return _Batch(text, _with_whole_offsets(tokenizer), max_length, legacy=mask_mode == "legacy", name=name)


@dataclass
class _Batch:
    """Tokenizes a batch of rows; an object, since it goes to other processes."""

    text: ChatText | HumanAssistantText | PlainText
    tokenizer: PreTrainedTokenizerBase
    max_length: int | None
    legacy: bool
    name: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        ids = [str(row["id"]) if row.get("id") else row_id(row["prompt"], row["completion"]) for row in rows]
        rendered = [
            # a template may trim a blank response to nothing, or add its end of turn: it teaches nothing either way
            self.text(row, f"{self.name} row {index} (id {name!r})") if response_of(row).strip() else Rendered("", 0)
            for row, index, name in zip(rows, indices, ids, strict=True)
        ]
        columns: dict[str, list[Any]] = {column: [] for column in _FEATURES}
        encoded = self._encode([one.text for one in rendered], return_offsets_mapping=not self.legacy)
        firsts = self._legacy_firsts(rendered) if self.legacy else _exact_firsts(rendered, encoded)
        for one, tokens, first in zip(rendered, encoded["input_ids"], firsts, strict=True):
            kept = tokens[: self.max_length] if one.text else []
            columns["input_ids"].append(kept)
            columns["labels"].append([IGNORED_LABEL] * min(first, len(kept)) + kept[first:])
            columns["all_tokens"].append(len(tokens) if one.text else 0)
            columns["first_supervised"].append(first)
        columns["id"], columns["row_index"] = ids, list(indices)
        for label in ("kind", "category"):
            columns[label] = [row.get(label) or "" for row in rows]
        return columns

    def _encode(self, texts: list[str], **options: Any) -> Mapping[str, Any]:
        encoded: Mapping[str, Any] = self.tokenizer(
            texts, add_special_tokens=self.text.add_special_tokens, verbose=False, **options
        )
        return encoded

    def _legacy_firsts(self, rendered: list[Rendered]) -> list[int]:
        return [max(1, len(tokens)) for tokens in self._encode([one.prompt for one in rendered])["input_ids"]]


def _exact_firsts(rendered: list[Rendered], encoded: Mapping[str, Any]) -> list[int]:
    """The place of the first supervised token of each row."""
    return [
        max(1, next((place for place, (_, end) in enumerate(offsets) if end > one.start), len(offsets)))
        for one, offsets in zip(rendered, encoded["offset_mapping"], strict=True)
    ]


def _with_whole_offsets(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy of it whose offsets count the blanks of a token.

    Byte-level tokenizers may trim them, and then a token that ends in the first blank of a response would seem to end
    before it.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} tells no character offsets, which "
            "the exact response boundary needs: use the fast tokenizer of the model (a folder with tokenizer.json)"
        )
    if tokenizer.backend_tokenizer.post_processor is None:
        return tokenizer
    before = tokenizer.backend_tokenizer.post_processor.__getstate__()
    after = re.sub(rb'("trim_offsets":\s*)true', rb"\1false", before)
    if after == before:
        return tokenizer
    whole = copy.deepcopy(tokenizer)
    processor = whole.backend_tokenizer.post_processor  # a copy, which has to be put back
    processor.__setstate__(after)
    whole.backend_tokenizer.post_processor = processor
    return whole


def _check_columns(dataset: Dataset, name: str) -> None:
    missing = [column for column in ("prompt", "completion") if column not in dataset.column_names]
    if missing:
        raise DataError(
            f"{name}: no column {' and '.join(missing)} (found: {', '.join(dataset.column_names) or 'none'}): load "
            "the rows with load_rows, or turn them into conversations with as_conversations"
        )
    if not len(dataset):
        raise DataError(f"{name}: there are no rows: give at least one")


def _kept(tokens: Dataset, max_length: int | None, name: str) -> TokenizedRows:
    kept, empty, unsupervised, needed = [], [], [], []
    supervised = total = cut_rows = cut_tokens = 0
    for row, (length, first) in enumerate(zip(tokens["all_tokens"], tokens["first_supervised"], strict=True)):
        left = length if max_length is None else min(length, max_length)
        if left > first:
            kept.append(row)
            supervised, total = supervised + left - first, total + left
            cut_rows, cut_tokens = cut_rows + (length > left), cut_tokens + length - left
        elif length:
            unsupervised.append(row)
            needed.append(first)
        else:
            empty.append(row)
    if not kept:
        raise DataError(_nothing_left(name, len(tokens), max_length, needed))
    ids = list(tokens["id"])
    report = TokenReport(
        name=name,
        rows_in=len(tokens),
        rows_kept=len(kept),
        empty_responses=tuple(ids[row] for row in empty),
        without_supervision=tuple(ids[row] for row in unsupervised),
        truncated_rows=cut_rows,
        truncated_tokens=cut_tokens,
        supervised_tokens=supervised,
        total_tokens=total,
    )
    rows = tokens.remove_columns(list(_COUNTS))
    return TokenizedRows(rows if len(kept) == len(rows) else rows.select(kept), report)


def _nothing_left(name: str, rows: int, max_length: int | None, needed: list[int]) -> str:
    if not needed:
        return f"{name}: all {rows:,} rows have an empty response: check which column holds the response"
    return (
        f"{name}: none of {rows:,} rows has a supervised token within max_length {max_length}: the shortest row needs "
        f"{min(needed)} tokens before its first response token. Raise max_length to at least {min(needed) + 1}, "
        "better to the length of whole rows"
    )
