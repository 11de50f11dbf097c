"""The rows of a diagnostic: task batches by group, the pool with its categories, the probes."""

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dualselect.data import check_overlap
from dualselect.data.checks import references_apart
from dualselect.data.conversations import joined
from dualselect.data.source_rows import SourceRows, mapped_sources, read_sources
from dualselect.diagnostic.settings import DiagnosticSettings, named_source
from dualselect.diagnostic.topics import OTHER, topic_of
from dualselect.errors import ConfigError, DataError
from dualselect.training.config import DualSelectConfig
from dualselect.training.preparation import PreparedRows, contrast_rows, prepare_rows


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TaskBatch:
    """One batch of one group.

    Attributes:
        group: The group.
        rows: Positions in the tokenized task rows.
    """

    group: str
    rows: list[int]


@dataclass(frozen=True)
class GivenRows:
    """Rows as read and checked, before any model is loaded.

    Attributes:
        task: Task rows.
        groups: Group of each task row.
        pool: References, each with a category.
        probes: Held-out safe responses.
        from_words: Positions of the references whose category was read off the words of their prompt.
        sources: Where each role came from.
    """

    task: Dataset
    groups: list[str]
    pool: Dataset
    probes: Dataset
    from_words: frozenset[int]
    sources: dict[str, list[SourceRows]]


@dataclass(frozen=True)
class DiagnosticRows:
    """Tokenized rows.

    Attributes:
        task: Task rows.
        groups: Group of each tokenized task row.
        pool: References.
        contrast: What is subtracted from their gradients for scoring; None for nothing.
        categories: Category of each tokenized reference.
        from_words: How many of these were read off the words of a prompt.
        probes: Held-out safe responses.
    """

    task: PreparedRows
    groups: list[str]
    pool: PreparedRows
    contrast: Dataset | None
    categories: list[str]
    from_words: int
    probes: PreparedRows


def read_rows(settings: DiagnosticSettings) -> GivenRows:
    """Read all rows, and refuse those that would make the diagnostic mean nothing.

    Raises:
        ConfigError: A source is missing.
        DataError: Rows cannot be read, there is one group only, a group is smaller than a batch, or prompts stand in
            two roles.
    """
    data, options = settings.run.data, settings.options
    task = _read(mapped_sources(data.task_data, data.columns), "task_data")
    groups = _groups(task, options.group_by, settings.rows_per_batch)
    rows = joined([found.dataset for _, found in task])
    pool = _read(mapped_sources(data.reference_data, data.columns), "reference_data")
    training, given = settings.run.training, joined([found.dataset for _, found in pool])
    allow, most = training.allow_prompt_overlap, training.max_shared_references
    references, from_words = _with_categories(given.select(references_apart(rows, given, allow=allow, most=most)))
    probe = _read(options.probe_data, "probe_data")
    probes = joined([found.dataset for _, found in probe])
    for role, others in (("task_data", rows), ("reference_data", references)):
        if shared := check_overlap(others, probes, allow=True):
            raise DataError(
                f"{shared} of {len(probes)} probes have a prompt that also stands in {role}, so they are not held "
                "out: take other rows as probe_data"
            )
    sources = {
        role: [one for _, one in found] for role, found in (("task", task), ("reference", pool), ("probe", probe))
    }
    return GivenRows(rows, groups, references, probes, from_words, sources)


def tokenize_rows(given: GivenRows, tokenizer: PreTrainedTokenizerBase, config: DualSelectConfig) -> DiagnosticRows:
    """Tokenize all rows as a training run would.

    Raises:
        DataError: No row of a role is left, a group has fewer rows left than two batches, or a reference has no
            contrast.
    """
    task, pool, probes = (
        prepare_rows(rows, tokenizer, config, name=name)
        for name, rows in (("task", given.task), ("reference", given.pool), ("probe", given.probes))
    )
    contrast = contrast_rows(pool, tokenizer, config)
    if contrast is not None and len(contrast) < len(pool.tokens):
        raise DataError("references have no usable contrast response: raise max_length, or write reference_contrast: "
                        "none")  # fmt: skip
    groups = [given.groups[row] for row in task.indices]
    usable = Counter(groups)
    size = config.per_device_train_batch_size * config.gradient_accumulation_steps
    _refuse_small(
        {name: usable[name] for name in given.groups},
        size,
        f"usable rows (with a response within max_length {config.max_length})",
    )
    left = pool.indices
    categories, from_words = [given.pool["category"][row] for row in left], len(given.from_words.intersection(left))
    return DiagnosticRows(task, groups, pool, contrast, categories, from_words, probes)


def task_batches(groups: Sequence[str], *, size: int, per_group: int, seed: int) -> list[TaskBatch]:
    """Batches of each group, the groups taking turns; no row is in two.

    Args:
        groups: Group of each row.
        size: Rows of a batch.
        per_group: Batches of each group; fewer where its rows do not suffice.
        seed: Of the order of the rows.
    """
    batches = []
    for group in sorted(set(groups)):
        rows = [position for position, name in enumerate(groups) if name == group]
        random.Random(f"{seed}/{group}").shuffle(rows)  # noqa: S311 - no secret
        count = min(per_group, len(rows) // size)
        if count < per_group:
            logger.warning("group %s has %d rows: %d batches instead of %d", group, len(rows), count, per_group)
        batches.append([TaskBatch(group, rows[start * size : (start + 1) * size]) for start in range(count)])
    return [batch for turn in zip_longest(*batches) for batch in turn if batch is not None]


def _read(sources: Sequence[str], role: str) -> list[tuple[str, SourceRows]]:
    if not sources:
        read_sources(sources, role)  # says what is missing
    found = [(name, read_sources([place], role)) for name, place in map(named_source, sources)]
    for _, one in found:
        for line in one.told:
            logger.info("%s: %s", role, line)
    return found


def _groups(task: list[tuple[str, SourceRows]], by: str, size: int) -> list[str]:
    if by == "source":
        groups = [name for name, found in task for _ in range(len(found.dataset))]
    else:
        groups = [label for _, found in task for label in found.dataset[by]]
    if not all(groups):
        raise DataError(
            f"{groups.count('')} of {len(groups)} task rows have no {by}: give them one, or write group_by: source "
            "and one NAME=SOURCE for each group"
        )
    counts = Counter(groups)
    if len(counts) < 2:
        raise ConfigError(
            f"all task rows are of one group, {by} {groups[0]!r}: a diagnostic compares two groups or more. Add rows "
            "of another, or group them by something else: group_by: kind, category or source"
        )
    _refuse_small(counts, size, "rows")
    return groups


def _refuse_small(counts: Mapping[str, int], size: int, what: str) -> None:
    if small := [f"{name} ({count})" for name, count in sorted(counts.items()) if count < 2 * size]:
        raise DataError(
            f"groups with fewer {what} than two batches of {size}: {', '.join(small)}. Give them more rows, leave "
            "them out, or lower per_device_train_batch_size"
        )


def _with_categories(pool: Dataset) -> tuple[Dataset, frozenset[int]]:
    """The pool with a category for each reference, and the positions of those that were read off the prompts."""
    without = [position for position, category in enumerate(pool["category"]) if not category]
    topics = [topic_of(pool[position]["prompt"]) for position in without]
    if topics:
        logger.warning(
            "%d of %d references have no category: %d of them got one by words of their prompts, the rest are `%s`; "
            "give them categories of your own for a sharper map",
            len(topics), len(pool), len(topics) - topics.count(OTHER), OTHER,
        )  # fmt: skip
    read_off = iter(topics)
    categories = [category or next(read_off) for category in pool["category"]]
    if len(set(categories)) < 2:
        raise DataError(
            f"all references are of one category ({categories[0]}): give the rows of the pool a column category"
        )
    return pool.remove_columns("category").add_column("category", categories), frozenset(without)
