"""Tokenize rows, with labels on responses only.

Shapes: T is the number of tokens of a row.
"""

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from datasets import Dataset, Features, List, Value
from datasets.fingerprint import generate_random_fingerprint
from transformers import PreTrainedTokenizerBase

from dualselect.data.ids import row_id
from dualselect.data.rendering import ChatText, HumanAssistantText, PlainText, Rendered, renderer
from dualselect.data.supervision import Scope
from dualselect.data.token_report import COUNTS, TokenReport, kept_rows, reason_without_text
from dualselect.errors import ConfigError, DataError, ModelError


IGNORED_LABEL = -100
"""Label of a token that is not supervised; the same value as in transformers and TRL."""

PromptFormat = Literal["chat", "human_assistant"]
MaskMode = Literal["exact", "legacy"]

_FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "id": Value("string"),
        "kind": Value("string"),
        "category": Value("string"),
        "row_index": Value("int64"),
        **COUNTS,
    }
)


@dataclass(frozen=True)
class TokenizedRows:
    """Tokens, and a report on the tokenization.

    Attributes:
        dataset: `input_ids` and `labels` (T each; -100 where not supervised), `id`, `kind`, `category`, and
            `row_index`, the row's position in the input data set.
        report: What was truncated and dropped.
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
    scope: Scope = "last",
    name: str = "task",
    num_proc: int | None = None,
) -> TokenizedRows:
    """Tokenize each row once, as one text, and supervise responses including their end-of-turn tokens.

    A token is supervised if it overlaps a supervised turn and does not reach into the header of the next turn; one
    that merges the space before a response with its first word is supervised. The first token of a row never is:
    nothing predicts it. Rows without a supervised token are dropped and counted. Nothing is cached.

    Args:
        dataset: Rows with `prompt` and `completion`, turns or plain text (which gets no template); `id`, `kind`,
            `category`, `tools` and `chat_template_kwargs` are used if present.
        tokenizer: A fast tokenizer.
        max_length: Maximum tokens per row, at least 2; longer rows are truncated at the end. None: no limit.
        prompt_format: The chat template, or the lines "Human: ..." and "Assistant: ...".
        mask_mode: `exact`, or `legacy`: mask as many tokens as the prompt has when it is tokenized alone, which
            drops the first response token, as the authors' script does (arXiv 2606.09866).
        scope: Supervised turns: the `last` assistant turn, `all` assistant turns, or `everything`, prompts too.
        name: Name of the rows in messages and the progress bar.
        num_proc: Processes to use.

    Raises:
        ConfigError: The settings contradict each other.
        DataError: A row cannot be rendered, or none has a supervised token within `max_length`.
        ModelError: The tokenizer has no template, end token or character offsets.
    """
    if mask_mode == "legacy" and prompt_format != "human_assistant":
        raise ConfigError(
            f"mask_mode: legacy reproduces a mistake in human_assistant text, but prompt_format is {prompt_format}: "
            "set prompt_format: human_assistant, or mask_mode: exact"
        )
    if mask_mode == "legacy" and scope != "last":
        raise ConfigError(
            "mask_mode: legacy can supervise only one response per row: set supervise: last and leave "
            "completion_only_loss out, or set mask_mode: exact"
        )
    if max_length is not None and max_length < 2:
        raise ConfigError(f"max_length is {max_length}: set it to at least 2 tokens, or to null for no limit")
    _check_columns(dataset, name)
    batch = batch_tokenizer(
        tokenizer,
        max_length=max_length,
        prompt_format=prompt_format,
        mask_mode=mask_mode,
        scope=scope,
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
    kept, report = kept_rows(tokens, max_length, name)
    rows = tokens.remove_columns(list(COUNTS))
    return TokenizedRows(rows if len(kept) == len(rows) else rows.select(kept), report)


def batch_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None,
    prompt_format: PromptFormat = "chat",
    mask_mode: MaskMode = "exact",
    scope: Scope = "last",
    name: str = "task",
    plain: bool = False,
) -> Callable[[Mapping[str, Sequence[Any]], Sequence[int]], dict[str, list[Any]]]:
    """Make a function that tokenizes batches of rows as `tokenize` does, also for streams; it drops no row.

    Args:
        tokenizer: A fast tokenizer.
        max_length: As for `tokenize`.
        prompt_format: As for `tokenize`.
        mask_mode: As for `tokenize`.
        scope: As for `tokenize`.
        name: Name of the rows in messages.
        plain: Whether the rows are plain text, which gets no template.

    Returns:
        A function of columns of rows (`prompt`, `completion`, ...) and row indices that returns columns of tokens,
        including `input_ids` and `labels`; a row without a response has no tokens.

    Raises:
        ModelError: The tokenizer has no template, end token or character offsets.
    """
    text = renderer(tokenizer, prompt_format, plain=plain, scope=scope)
    whole = _with_whole_offsets(tokenizer)
    return _Batch(text, whole, max_length, scope, legacy=mask_mode == "legacy", name=name)


@dataclass
class _Batch:
    """Tokenizes a batch of rows; an object and not a closure, so that it can be pickled."""

    text: ChatText | HumanAssistantText | PlainText
    tokenizer: PreTrainedTokenizerBase
    max_length: int | None
    scope: Scope
    legacy: bool
    name: str

    def __call__(self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int]) -> dict[str, list[Any]]:
        rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        ids = [str(row["id"]) if row.get("id") else row_id(row["prompt"], row["completion"]) for row in rows]
        reasons = [reason_without_text(row, self.scope) for row in rows]
        rendered = [
            # a blank response teaches nothing, whether a template trims it away or adds an end-of-turn token
            Rendered("", ()) if reason else self.text(row, f"{self.name} row {index} (id {name!r})")
            for row, index, name, reason in zip(rows, indices, ids, reasons, strict=True)
        ]
        columns: dict[str, list[Any]] = {column: [] for column in _FEATURES}
        encoded = self._encode([one.text for one in rendered], return_offsets_mapping=not self.legacy)
        ranges = self._legacy_ranges(rendered) if self.legacy else _exact_ranges(rendered, encoded)
        for one, tokens, supervised in zip(rendered, encoded["input_ids"], ranges, strict=True):
            kept = tokens[: self.max_length] if one.text else []
            labels = [IGNORED_LABEL] * len(kept)
            for first, stop in supervised:
                labels[first:stop] = kept[first:stop]
            columns["input_ids"].append(kept)
            columns["labels"].append(labels)
            columns["all_tokens"].append(len(tokens) if one.text else 0)
            columns["first_supervised"].append(supervised[0][0] if supervised else len(tokens))
            columns["supervised"].append(len(labels) - labels.count(IGNORED_LABEL))
            columns["supervised_turns"].append(sum(first < len(kept) for first, _ in supervised))
            columns["unused"].append(json.dumps(one.unused) if one.unused else "")
            columns["cut"].append(one.cut)
        columns["id"], columns["row_index"], columns["reason"] = ids, list(indices), reasons
        for label in ("kind", "category"):
            columns[label] = [row.get(label) or "" for row in rows]
        return columns

    def _encode(self, texts: list[str], **options: Any) -> Mapping[str, Any]:
        encoded: Mapping[str, Any] = self.tokenizer(
            texts, add_special_tokens=self.text.add_special_tokens, verbose=False, **options
        )
        return encoded

    def _legacy_ranges(self, rendered: list[Rendered]) -> list[list[tuple[int, int]]]:
        prompts = self._encode([one.prompt for one in rendered])["input_ids"]
        return [[(max(1, len(tokens)), len(one.text))] for one, tokens in zip(rendered, prompts, strict=True)]


def _exact_ranges(rendered: list[Rendered], encoded: Mapping[str, Any]) -> list[list[tuple[int, int]]]:
    """Token ranges (first, stop) of the supervised turns of each row."""
    found = []
    for one, offsets in zip(rendered, encoded["offset_mapping"], strict=True):
        ranges = []
        for start, end in one.spans:
            first = max(1, next((place for place, (_, stop) in enumerate(offsets) if stop > start), len(offsets)))
            # tokens that a tokenizer appends to the text belong to the last turn
            after = len(offsets) if end == len(one.text) else first
            while after < len(offsets) and offsets[after][1] <= end:
                after += 1
            if first < after:
                ranges.append((first, after))
        found.append(ranges)
    return found


def _with_whole_offsets(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy of it whose token offsets include surrounding spaces.

    Byte-level tokenizers may trim these, and then a token that ends in the first space of a response would seem to
    end before it.
    """
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} gives no character offsets, which "
            "the exact response boundary needs: use the fast tokenizer of the model (a folder with tokenizer.json)"
        )
    if tokenizer.backend_tokenizer.post_processor is None:
        return tokenizer
    before = tokenizer.backend_tokenizer.post_processor.__getstate__()
    after = re.sub(rb'("trim_offsets":\s*)true', rb"\1false", before)
    if after == before:
        return tokenizer
    whole = copy.deepcopy(tokenizer)
    processor = whole.backend_tokenizer.post_processor  # a copy, which must be assigned back
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
        raise DataError(f"{name}: there are no rows: provide at least one")
