"""From the data sets given to the trainer to tokenized rows with known ids.

The number of a row is its position in the data set as given. It is kept through tokenizing, dropping, shuffling and
batching, and identifies the row in every log.
"""

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datasets import Dataset

from dualselect.data import TokenizedRows, TokenReport, as_conversations, row_id, tokenize
from dualselect.data.checks import references_apart
from dualselect.data.contrast import compliance, refusal
from dualselect.data.formats import format_of
from dualselect.data.ids import distinct_ids
from dualselect.data.supervision import Scope
from dualselect.data.token_columns import lengths_of, supervised_counts, tokens_sha256
from dualselect.data.tokens import IGNORED_LABEL
from dualselect.data.turns import text_of
from dualselect.errors import ConfigError, DataError
from dualselect.training.config import DualSelectConfig
from dualselect.training.hardware import check_hardware
from dualselect.training.packages import check_packages
from dualselect.training.token_cache import cached_rows


logger = logging.getLogger(__name__)

TEXT_COLUMNS = ("prompt", "completion")
CONTEXT_COLUMNS = ("system", "context", "history", "tools")
ROW = "dualselect_row"
"""Column, and key of a batch, with the number of each row. The name must not occur in users' data sets."""

LABELS = ("kind", "category")

UNLEARNABLE = "no supervised token after the first position"


@dataclass(frozen=True)
class PreparedRows:
    """Tokenized rows and their source rows.

    Attributes:
        tokens: `input_ids`, `labels` and `ROW`, one row per row kept.
        conversations: `id`, `prompt`, `completion`, `kind`, `category`, `rejected`, one row per row given; None for
            rows that came without a conversation (tokenized or plain text).
        ids: Id of each row given.
        kinds: Kind of each row given; empty when none has any.
        categories: Category of each row given; empty when none has any.
        texts: The text that a formatting function made of each row given; None without a formatting function.
        report: What was truncated and dropped.
    """

    tokens: Dataset
    conversations: Dataset | None
    ids: list[str]
    kinds: list[str]
    categories: list[str]
    texts: list[str] | None = None
    report: TokenReport | None = None

    def ids_of(self, indices: Sequence[int]) -> list[str]:
        """The ids of rows, by row number."""
        return [self.ids[index] for index in indices]

    def labels_of(self, indices: Sequence[int]) -> dict[str, list[str]]:
        """`kinds` and `categories` of rows, by row number; empty when no row has any."""
        columns = {"kinds": self.kinds, "categories": self.categories}
        return {name: [values[index] for index in indices] for name, values in columns.items() if values}

    @functools.cached_property
    def indices(self) -> list[int]:
        """Number of each row kept."""
        return list(self.tokens[ROW])

    @property
    def fingerprint(self) -> str:
        """A hash of the ids of the rows kept, in order."""
        return hashlib.sha256(json.dumps(self.ids_of(self.indices)).encode()).hexdigest()[:16]

    @functools.cached_property
    def tokens_sha256(self) -> str:
        """A hash of the tokens and labels of the rows kept, in order."""
        return tokens_sha256(self.tokens)


def prepare_rows(
    dataset: Dataset,
    tokenizer: Any,
    config: DualSelectConfig,
    *,
    name: str,
    trl_prepare: Callable[[Dataset], Dataset] | None = None,
    formatting_func: Callable[[Any], str] | None = None,
) -> PreparedRows:
    """Tokenize a data set with exact response boundaries. TRL prepares rows that are already tokenized.

    Args:
        dataset: Rows in any known format, tokenized rows (`input_ids`), or plain text.
        tokenizer: The model's tokenizer.
        config: Settings.
        name: Name of the data set, for messages.
        trl_prepare: TRL's own preparation, for tokenized rows; None if tokenized rows cannot be used.
        formatting_func: Makes the text of a row, which is supervised in full. Rows of a known format also keep
            their conversations.

    Raises:
        DataError: No row is left, or the format of the rows is unknown. The message says what was found.
    """
    dataset = dataset.remove_columns(ROW) if ROW in dataset.column_names else dataset
    if "input_ids" in dataset.column_names:
        return _tokenized_by_user(dataset, name, trl_prepare)
    conversations, texts = None, None
    if formatting_func is not None:
        texts = _formatted(dataset, formatting_func, name)
        conversations = _conversations_beside(dataset, name)
    elif _is_plain(dataset):
        conversations = _plain_texts(dataset)
    elif config.dataset_text_field in dataset.column_names and not _format_wins(dataset, config, name):
        field = config.dataset_text_field
        texts = [text_of(text, field, f"{name} row {index}") for index, text in enumerate(dataset[field])]
    else:
        conversations = as_conversations(dataset, name=name)
    ids = _given_ids(dataset) if conversations is None else list(conversations["id"])
    rows = _text_rows(texts, ids) if texts is not None else conversations
    tokenized = _tokenized(rows, tokenizer, config, name)
    logger.info("%s", tokenized.report.describe())
    tokens = tokenized.dataset.select_columns(["input_ids", "labels", "row_index"]).rename_column("row_index", ROW)
    if config.shuffle_dataset:
        tokens = tokens.shuffle(seed=config.seed)
    labels = {column: _labels(dataset if conversations is None else conversations, column) for column in LABELS}
    own_texts = texts if formatting_func else None
    return PreparedRows(tokens, conversations, ids, labels["kind"], labels["category"], own_texts, tokenized.report)


def contrast_rows(
    references: PreparedRows, tokenizer: Any, config: DualSelectConfig, helping: Sequence[int] | None = None
) -> Dataset | None:
    """The tokenized contrast response of each reference, in the order of the references' tokens.

    A reference is contrasted with a compliance, or, where `helping` is not 0, with a refusal.

    The same parts are supervised as in the reference itself: depending on the settings, the last assistant turn, all
    assistant turns, or also the prompt.

    Returns:
        Rows with `input_ids` and `labels`; fewer than the references if `max_length` cut a contrast away; None if
        `reference_contrast` is none.

    Raises:
        DataError: The references are not conversations, `reference_contrast` is `rejected` and rows have no rejected
            response, or a formatting function leaves their responses out.
    """
    if config.reference_contrast == "none":
        return None
    if references.conversations is None:
        raise DataError(
            f"reference_contrast: {config.reference_contrast} needs the prompts of the references, but the rows are "
            "tokenized or plain text: pass conversations, or set reference_contrast: none"
        )
    kept = references.conversations.select(references.indices)
    if config.reference_contrast == "rejected":
        missing = [row for row, rejected in zip(kept["id"], kept["rejected"], strict=True) if not rejected]
        if missing:
            raise DataError(
                f"reference_contrast: rejected, but {len(missing)} references have no rejected response (row ids: "
                f"{', '.join(missing[:5])}): give them one, or set reference_contrast: compliance"
            )
        responses = list(kept["rejected"])
    else:
        helps = helping or [0] * len(kept)
        responses = [refusal(row) if help_ else compliance(row) for row, help_ in zip(kept["id"], helps, strict=True)]
    if references.texts is not None:
        contrast = _formatted_contrast(references, kept, responses)
    else:
        plain = isinstance(kept[0]["completion"], str)
        completions = [text if plain else [{"role": "assistant", "content": text}] for text in responses]
        contrast = kept.remove_columns("completion").add_column("completion", completions)
    tokenized = _tokenized(contrast, tokenizer, config, "contrast")
    return tokenized.dataset.select_columns(["input_ids", "labels"])


def without_shared_prompts(task: PreparedRows, references: PreparedRows, config: DualSelectConfig) -> PreparedRows:
    """The references whose prompt does not appear in the task data; see `references_apart`.

    Tokenized rows and plain text have no prompts to compare.

    Raises:
        DataError: More prompts than `max_shared_references` allows are in both. The message names rows.
    """
    if task.conversations is None or references.conversations is None:
        logger.info("prompt overlap was not checked: the rows are tokenized or plain text")
        return references
    apart = set(
        references_apart(
            task.conversations,
            references.conversations,
            allow=config.allow_prompt_overlap,
            most=config.max_shared_references,
        )
    )
    kept = [position for position, row in enumerate(references.indices) if row in apart]
    if len(kept) == len(references.tokens):
        return references
    return replace(references, tokens=references.tokens.select(kept))


def check_arguments(args: Any, train_dataset: Any, reference_dataset: Any, sft: Mapping[str, Any]) -> None:
    """Check the arguments of a trainer before a model is loaded.

    Raises:
        ConfigError: `args` is of another config class, `sft` contains a loss function, or the machine does not
            support the settings.
        DataError: A data set is missing, a stream, or empty.
    """
    if not isinstance(args, DualSelectConfig):
        raise ConfigError(
            f"args is a {type(args).__name__}: build it with DualSelectConfig, which takes the same settings and "
            "the selection settings"
        )
    for name, dataset in (("train_dataset", train_dataset), ("reference_dataset", reference_dataset)):
        if not isinstance(dataset, Dataset):
            raise DataError(
                f"{name} is {type(dataset).__name__}: pass a datasets.Dataset (rows are scored by number, so a stream "
                "cannot be used); for files, dualselect.load_rows(path).dataset is one"
            )
        if not len(dataset):
            raise DataError(f"{name} is empty: pass at least one row")
    if (args.dataset_kwargs or {}).get("skip_prepare_dataset"):
        raise ConfigError(
            "dataset_kwargs: {skip_prepare_dataset: true} cannot be used: rows are prepared with their ids. Leave it "
            "out; tokenized rows (input_ids, labels) are used unchanged."
        )
    if sft.get("compute_loss_func") is not None:
        raise ConfigError(
            "compute_loss_func cannot be used: the scored loss would differ from the trained loss. Leave it out."
        )
    check_hardware(args, several_processes=True)
    check_packages(args)


def _tokenized_by_user(dataset: Dataset, name: str, trl_prepare: Callable[[Dataset], Dataset] | None) -> PreparedRows:
    """Prepare rows that are already tokenized: TRL makes labels from their masks and truncates them."""
    if trl_prepare is None:
        raise DataError(f"{name}: the rows are tokenized, but their prompts are needed: pass conversations")
    before = lengths_of(dataset)
    tokens = trl_prepare(dataset.add_column(ROW, list(range(len(dataset)))))
    counts = supervised_counts(tokens, IGNORED_LABEL)
    learnable = counts.nonzero()[0].tolist()
    if len(learnable) < len(tokens):
        tokens = tokens.select(learnable)
    ids = _given_ids(dataset)
    kept = list(tokens[ROW])
    dropped = sorted(set(range(len(dataset))).difference(kept))
    if not kept:
        raise DataError(f"{name}: all {len(dataset):,} rows have {UNLEARNABLE}: give labels other than -100")
    after = lengths_of(tokens)
    report = TokenReport(
        name=name,
        rows_in=len(dataset),
        rows_kept=len(kept),
        dropped={UNLEARNABLE: tuple(ids[row] for row in dropped)} if dropped else {},
        truncated_rows=int((before[kept] > after).sum()),
        truncated_tokens=int((before[kept] - after).sum()),
        supervised_tokens=int(counts.sum()),
        supervised_turns=0,
        total_tokens=int(after.sum()),
    )
    logger.info("%s", report.describe())
    return PreparedRows(tokens, None, ids, _labels(dataset, "kind"), _labels(dataset, "category"), report=report)


def _labels(rows: Dataset, column: str) -> list[str]:
    values = [str(value or "") for value in rows[column]] if column in rows.column_names else []
    return values if any(values) else []


def _given_ids(dataset: Dataset) -> list[str]:
    own = dataset["id"] if "id" in dataset.column_names else [None] * len(dataset)
    return distinct_ids([str(name) if name is not None else f"row-{index}" for index, name in enumerate(own)])[0]


def _is_plain(dataset: Dataset) -> bool:
    """Whether rows are a plain prompt and completion, which TRL uses without a chat template.

    Rows with a system prompt or a context are conversations.
    """
    if any(column in dataset.column_names and any(dataset[column]) for column in CONTEXT_COLUMNS):
        return False
    return all(column in dataset.column_names and isinstance(dataset[0][column], str) for column in TEXT_COLUMNS)


def _format_wins(dataset: Dataset, config: DualSelectConfig, name: str) -> bool:
    """Whether rows with a text column are conversations: their format is known, and no text field is set."""
    default = DualSelectConfig.dataset_text_field
    if config.dataset_text_field != default:
        return False
    try:
        known = format_of(dataset[0], f"{name} row 0")
    except DataError:
        return False
    logger.warning(
        "%s: the rows have a known format (%s) and also a column %r, which is not used; to train on it alone, "
        "remove the other columns",
        name,
        known.sentence,
        default,
    )
    return True


def _formatted(dataset: Dataset, formatting_func: Callable[[Any], str], name: str) -> list[str]:
    texts = [formatting_func(row) for row in dataset]
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"{name} row {index}: formatting_func returned a {type(text).__name__}: return the text of one row"
            )
    return texts


def _conversations_beside(dataset: Dataset, name: str) -> Dataset | None:
    """Rows used with a formatting function, read as conversations; None if their format is unknown."""
    try:
        return _plain_texts(dataset) if _is_plain(dataset) else as_conversations(dataset, name=name)
    except DataError as error:
        logger.warning(
            "%s: formatting_func is used and the rows have no known conversation format, so kinds, contrasts and "
            "the check for shared prompts are unavailable (%s)",
            name,
            error,
        )
        return None


def _text_rows(texts: Sequence[str], ids: Sequence[str]) -> Dataset:
    """Plain text as rows in which all of the text is the response."""
    return Dataset.from_dict({"prompt": [""] * len(texts), "completion": list(texts), "id": list(ids)})


def _formatted_contrast(references: PreparedRows, kept: Dataset, responses: Sequence[str]) -> Dataset:
    """The texts of a formatting function with their responses replaced."""
    assert references.texts is not None
    contrasts = []
    for row, other, index in zip(kept, responses, references.indices, strict=True):
        completion = row["completion"]
        response = completion if isinstance(completion, str) else completion[-1]["content"]
        before, found, after = references.texts[index].rpartition(response or "\0")
        if not found:
            raise DataError(
                f"reference {row['id']!r}: formatting_func changes the response, so a contrast cannot replace it: "
                "keep the response unchanged, or set reference_contrast: none"
            )
        contrasts.append(before + other + after)
    return _text_rows(contrasts, kept["id"])


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
    whole = config.completion_only_loss is False
    text_only = not any(rows["prompt"][:1]) and isinstance(rows[0]["prompt"], str)
    scope: Scope = "everything" if whole or text_only else config.supervise
    settings: dict[str, Any] = {
        "name": name,
        "max_length": config.max_length,
        "prompt_format": "chat" if text_only else config.prompt_format,
        "mask_mode": "exact" if text_only else config.mask_mode,
        "scope": scope,
    }

    def make() -> TokenizedRows:
        return tokenize(rows, tokenizer, num_proc=config.dataset_num_proc, **settings)

    return cached_rows(rows, tokenizer, settings, make) if config.token_cache else make()
