"""From the data sets given to the trainer to tokenized rows whose ids can always be told.

A row's index is its position in the data set as given; it goes through tokenizing, dropping, shuffling and batching,
and names the row in every log.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset

from dualselect.data import TokenizedRows, as_conversations, check_overlap, compliance, row_id, tokenize
from dualselect.data.ids import distinct_ids
from dualselect.data.token_columns import tokens_sha256
from dualselect.errors import ConfigError, DataError
from dualselect.training.config import DualSelectConfig


logger = logging.getLogger(__name__)

TEXT_COLUMNS = ("prompt", "completion")


@dataclass(frozen=True)
class PreparedRows:
    """Tokenized rows and what they came from.

    Attributes:
        tokens: `input_ids`, `labels` and `row_index`, one row per row kept.
        conversations: `id`, `prompt`, `completion`, `kind`, `category`, `rejected`, one row per row given; None for
            rows that came without a conversation (tokenized or plain text).
        ids: Id of each row given.
    """

    tokens: Dataset
    conversations: Dataset | None
    ids: list[str]

    def ids_of(self, indices: Sequence[int]) -> list[str]:
        """The ids of rows, by row index."""
        return [self.ids[index] for index in indices]

    def labels_of(self, indices: Sequence[int]) -> dict[str, list[str]]:
        """`kinds` and `categories` of rows, by row index; empty when no row has any."""
        columns = {"kinds": self._kinds, "categories": self._categories}
        return {name: [values[index] for index in indices] for name, values in columns.items() if any(values)}

    @property
    def fingerprint(self) -> str:
        """A hash of the ids of the rows kept, in order."""
        kept = self.ids_of(self.tokens["row_index"])
        return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]

    @functools.cached_property
    def tokens_sha256(self) -> str:
        """A hash of `input_ids` and `labels` of the rows kept, in order."""
        return tokens_sha256(self.tokens)

    @property
    def _kinds(self) -> list[str]:
        return [] if self.conversations is None else list(self.conversations["kind"])

    @property
    def _categories(self) -> list[str]:
        return [] if self.conversations is None else list(self.conversations["category"])


def prepare_rows(
    dataset: Any,
    tokenizer: Any,
    config: DualSelectConfig,
    *,
    name: str,
    of_trl: Callable[[Any], Any],
    keep_trl_labels: bool,
) -> PreparedRows:
    """Tokenize a data set with an exact response boundary, or by TRL where the rows are no conversations.

    Args:
        dataset: Rows in any known format, tokenized rows, or plain text.
        tokenizer: The model's.
        config: Settings.
        name: What the messages call it.
        of_trl: TRL's own preparation; for tokenized rows and plain text, and with `keep_trl_labels`.
        keep_trl_labels: The user asked for other labels than the response: a formatting function, all assistant
            turns, or the prompt too.

    Raises:
        DataError: No row is left, or the rows have no known format; the message says what was found.
    """
    indexed = dataset.add_column("row_index", list(range(len(dataset)))) if isinstance(dataset, Dataset) else dataset
    plain = "input_ids" in dataset.column_names or config.dataset_text_field in dataset.column_names
    if plain or keep_trl_labels or not isinstance(dataset, Dataset):
        tokens = of_trl(indexed)
        if isinstance(dataset, Dataset) and len(tokens) < len(dataset):
            logger.warning("%s: %d rows without a supervised token were dropped", name, len(dataset) - len(tokens))
        return PreparedRows(tokens, None, _given_ids(dataset))
    conversations = _plain_texts(dataset) if _is_plain(dataset) else as_conversations(dataset, name=name)
    tokenized = _tokenized(conversations, tokenizer, config, name)
    logger.info("%s", tokenized.report.describe())
    tokens = tokenized.dataset.select_columns(["input_ids", "labels", "row_index"])
    if config.shuffle_dataset:
        tokens = tokens.shuffle(seed=config.seed)
    return PreparedRows(tokens, conversations, list(conversations["id"]))


def contrast_rows(references: PreparedRows, tokenizer: Any, config: DualSelectConfig) -> Dataset | None:
    """For each reference the tokenized response that its safe one is contrasted with, in the order of its tokens.

    Returns:
        Rows with `input_ids` and `labels`; fewer than the references where a contrast was cut away by `max_length`;
        None when `reference_contrast` is none.

    Raises:
        DataError: The references are no conversations, or `rejected` is asked for and rows have none.
    """
    if config.reference_contrast == "none":
        return None
    if references.conversations is None:
        raise DataError(
            f"reference_contrast: {config.reference_contrast} needs the prompts of the references, and they came "
            "tokenized or as plain text: pass conversations, or set reference_contrast: none"
        )
    kept = references.conversations.select(references.tokens["row_index"])
    if config.reference_contrast == "rejected":
        missing = [row for row, rejected in zip(kept["id"], kept["rejected"], strict=True) if not rejected]
        if missing:
            raise DataError(
                f"reference_contrast: rejected, but {len(missing)} references have no rejected response (row ids: "
                f"{', '.join(missing[:5])}): give them one, or set reference_contrast: compliance"
            )
        responses = list(kept["rejected"])
    else:
        responses = [compliance(row) for row in kept["id"]]
    plain = isinstance(kept[0]["completion"], str)
    completions = [text if plain else [{"role": "assistant", "content": text}] for text in responses]
    contrast = kept.remove_columns("completion").add_column("completion", completions)
    tokenized = _tokenized(contrast, tokenizer, config, "contrast")
    return tokenized.dataset.select_columns(["input_ids", "labels"])


def refuse_overlap(task: PreparedRows, references: PreparedRows, *, allow: bool) -> None:
    """Refuse prompts that stand in both data sets, unless allowed; tokenized rows and plain text have none to compare.

    Raises:
        DataError: Some prompts stand in both; the message names rows.
    """
    if task.conversations is None or references.conversations is None:
        logger.info("prompt overlap was not checked: the rows came tokenized or as plain text")
        return
    shared = check_overlap(task.conversations, references.conversations, allow=allow)
    if shared:
        logger.warning("%d references share their prompt with a task row (allow_prompt_overlap)", shared)


def check_arguments(args: Any, train_dataset: Any, reference_dataset: Any, sft: Mapping[str, Any]) -> None:
    """Refuse what a trainer cannot be built from, before a model is loaded.

    Raises:
        ConfigError: `args` is another config, or `sft` has a loss function of its own.
        DataError: A data set is missing, a stream, or empty.
    """
    if not isinstance(args, DualSelectConfig):
        raise ConfigError(
            f"args is a {type(args).__name__}: build it with DualSelectConfig, which takes the same settings and "
            "those of the selection"
        )
    for name, dataset in (("train_dataset", train_dataset), ("reference_dataset", reference_dataset)):
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"{name} is {type(dataset).__name__}: pass a datasets.Dataset (rows are scored by number, so a stream "
                "cannot be used); for files, dualselect.load_rows(path).dataset is one"
            )
        if not len(dataset):
            raise DataError(f"{name} is empty: pass at least one row")
    if sft.get("compute_loss_func") is not None:
        raise ConfigError("compute_loss_func cannot be used: the scored loss would not be the trained loss. Drop it.")


@dataclass
class RowIndexCollator:
    """A collator that also hands on `row_index`, shape (B,), where rows have one.

    Attributes:
        collate: The collator of the model's inputs.
    """

    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows; those of an evaluation set have no `row_index`."""
        indices: list[int] = [row["row_index"] for row in rows if "row_index" in row]
        inputs = [{name: value for name, value in row.items() if name != "row_index"} for row in rows]
        batch: dict[str, Any] = dict(self.collate(inputs))
        if indices:
            batch["row_index"] = torch.tensor(indices)
        return batch


def _given_ids(dataset: Any) -> list[str]:
    if "id" in dataset.column_names:
        return [str(value) for value in dataset["id"]]
    return [f"row-{index}" for index in range(len(dataset))] if isinstance(dataset, Dataset) else []


def _is_plain(dataset: Dataset) -> bool:
    """Whether rows are a plain prompt and completion, which TRL takes without a chat template."""
    return all(column in dataset.column_names and isinstance(dataset[0][column], str) for column in TEXT_COLUMNS)


def _plain_texts(dataset: Dataset) -> Dataset:
    texts = dataset.select_columns([*TEXT_COLUMNS])
    for column in ("kind", "category", "rejected"):
        values = dataset[column] if column in dataset.column_names else [""] * len(dataset)
        texts = texts.add_column(column, [str(value or "") for value in values])
    own = dataset["id"] if "id" in dataset.column_names else [None] * len(dataset)
    hashes = [row_id(row["prompt"], row["completion"]) for row in texts]
    ids, _ = distinct_ids([str(given or content) for given, content in zip(own, hashes, strict=True)])
    return texts.add_column("id", ids)


def _tokenized(rows: Dataset, tokenizer: Any, config: DualSelectConfig, name: str) -> TokenizedRows:
    return tokenize(
        rows,
        tokenizer,
        max_length=config.max_length,
        prompt_format=config.prompt_format,
        mask_mode=config.mask_mode,
        name=name,
        num_proc=config.dataset_num_proc,
    )
