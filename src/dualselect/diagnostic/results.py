"""Results of a diagnostic as plain values and tables, used by the figure and the findings."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualselect.diagnostic.overlap import (
    Null,
    category_p_value,
    expected_jaccard,
    expected_mean,
    group_p_value,
    jaccard_table,
    mean_over,
    min_p_value,
    pairs_of,
    random_null,
)
from dualselect.diagnostic.pool import PoolNumbers
from dualselect.diagnostic.probing import UNCORRECTED, Variant
from dualselect.diagnostic.reduction import MIN_DIVERGENCE, Interval, Reduction, reduction
from dualselect.diagnostic.rows import DiagnosticRows, TaskBatch
from dualselect.diagnostic.settings import DiagnosticSettings
from dualselect.diagnostic.strategies import category_shares
from dualselect.selection import Choice
from dualselect.system.files import write_text
from dualselect.system.tables import csv_text
from dualselect.training.preparation import PreparedRows


FORMAT = 1
Tables = Mapping[str, np.ndarray]
"""Jaccard index of each pair of batches, by strategy."""
TABLES = {"overlap": "overlap.csv", "categories": "categories.csv", "probes": "probes.csv"}


@dataclass(frozen=True)
class Measurements:
    """All measurements.

    Attributes:
        batches: The M task batches.
        numbers: Losses and cosines of the pool.
        selected: Selections by strategy and batch.
        start_kl: Divergence of each probe before any update.
        probes: For each variant and batch, the `kl` of each probe and the `task_loss`.
    """

    batches: list[TaskBatch]
    numbers: PoolNumbers
    selected: dict[str, list[Choice]]
    start_kl: list[float]
    probes: dict[Variant, list[dict[str, Any]]]


def content_of(settings: DiagnosticSettings, rows: DiagnosticRows, measured: Measurements) -> dict[str, Any]:
    """The content of diagnostic.json.

    Args:
        settings: Settings of the diagnostic.
        rows: Tokenized rows.
        measured: The measurements.
    """
    groups = [batch.group for batch in measured.batches]
    pool_ids = rows.pool.ids_of(rows.pool.indices)
    task_ids = rows.task.ids_of(rows.task.indices)
    seed, count = settings.run.training.seed, len(measured.selected["dualselect"][0].kept)
    tables = {name: jaccard_table([choice.kept for choice in some]) for name, some in measured.selected.items()}
    return {
        "format": FORMAT,
        "settings": settings.resolved,
        "pool": {
            "references": len(pool_ids),
            "selected": count,
            "categories": dict(sorted(Counter(rows.categories).items())),
            "categories_from_words": rows.from_words,
            "sketch": _sketch(settings, measured.numbers),
        },
        "probes_count": len(measured.start_kl),
        "probes_in_pool": _count_in_pool(rows),
        "kl_before_updates": sum(measured.start_kl) / len(measured.start_kl),
        "overlap": _overlap(settings, rows.categories, groups, count, tables),
        "min_p_value": min_p_value(groups),
        "group_p_value": group_p_value(tables["dualselect"], groups, seed=seed),
        "categories": _categories(rows.categories, groups, measured.selected),
        "category_p_value": category_p_value(
            _counts(rows.categories, measured.selected["dualselect"]), groups, seed=seed
        ),
        "probes": _probes(measured, settings.run.training.correction, settings.options.period, seed),
        "batches": [
            {
                "group": batch.group,
                "rows": [task_ids[row] for row in batch.rows],
                "selected": {
                    name: [pool_ids[row] for row in some[number].kept] for name, some in measured.selected.items()
                },
            }
            for number, batch in enumerate(measured.batches)
        ],
    }


def write_tables(content: Mapping[str, Any], folder: Path) -> None:
    """Write the tables as CSV, one file each."""
    for name, file in TABLES.items():
        rows = content[name]
        names = list(rows[0])
        write_text(folder / file, csv_text([names, *([row[column] for column in names] for row in rows)]))


def _count_in_pool(rows: DiagnosticRows) -> int:
    """Number of probes whose response is verbatim in the pool. Only the prompts of these probes are held out."""
    in_pool = set(_responses(rows.pool))
    return sum(response in in_pool for response in _responses(rows.probes))


def _responses(rows: PreparedRows) -> list[str]:
    assert rows.conversations is not None
    return [rows.conversations[row]["completion"][-1]["content"].strip() for row in rows.indices]


def _sketch(settings: DiagnosticSettings, numbers: PoolNumbers) -> dict[str, Any] | None:
    errors, exact = numbers.sketch_errors, numbers.exact_sample
    if errors is None or exact is None:
        return None
    return {
        "buckets": settings.options.sketch,
        "compared": errors.numel(),
        "mean_error": float(errors.mean()),
        "largest_error": float(errors.max()),
        "spread_of_cosines": float(exact.std(dim=1).mean()),
    }


def _overlap(
    settings: DiagnosticSettings, categories: Sequence[str], groups: Sequence[str], count: int, tables: Tables
) -> list[dict[str, Any]]:
    seed, pairs = settings.run.training.seed, pairs_of(groups)
    null = random_null(len(categories), count, pairs, seed=seed)
    expected = expected_overlaps(categories, count, len(groups), settings.options.period, seed)
    return [
        {
            "strategy": name,
            "pairs": which,
            "pairs_count": len(some),
            "overlap": mean_over(some, table),
            "expected": expected_mean(some, expected[name]) if name in expected else None,
            **_against(null[which], mean_over(some, table)),
        }
        for name, table in tables.items()
        for which, some in pairs.items()
        if some
    ]


def expected_overlaps(
    categories: Sequence[str], count: int, batches: int, period: int, seed: int
) -> dict[str, Callable[[int, int], float]]:
    """Expected Jaccard index of two batches in closed form, for the random strategies."""
    random_overlap = expected_jaccard([(len(categories), count, count)])
    sizes = [size for _, size in sorted(Counter(categories).items())]
    shares = category_shares(categories, count, batches, seed=seed)
    return {
        "periodic_random": lambda one, other: 1.0 if one // period == other // period else random_overlap,
        "uniform": lambda one, other: expected_jaccard(list(zip(sizes, shares[one], shares[other], strict=True))),
    }


def _against(null: Null, overlap: float) -> dict[str, float]:
    n_as_high = int((null.draws >= overlap - 1e-12).sum())
    return {
        "null_mean": null.mean,
        "null_low": null.low,
        "null_high": null.high,
        "null_p_value": (1 + n_as_high) / (1 + len(null.draws)),
    }


def _categories(
    categories: Sequence[str], groups: Sequence[str], selected: Mapping[str, list[Choice]]
) -> list[dict[str, Any]]:
    """Share of each category among the selected references of each strategy and group, and in the pool."""
    pool_counts = Counter(categories)
    rows = []
    for name, choices in selected.items():
        for group in sorted(set(groups)):
            kept = Counter(
                categories[row]
                for choice, own in zip(choices, groups, strict=True)
                if own == group
                for row in choice.kept
            )
            rows += [
                {
                    "strategy": name,
                    "group": group,
                    "category": category,
                    "selected": kept[category],
                    "share": kept[category] / sum(kept.values()),
                    "share_of_pool": pool_counts[category] / len(categories),
                }
                for category in sorted(pool_counts)
            ]
    return rows


def _counts(categories: Sequence[str], choices: Sequence[Choice]) -> np.ndarray:
    """Number of selected references by batch and category, shape (M, categories)."""
    names = sorted(set(categories))
    return np.array([[sum(categories[row] == name for row in choice.kept) for name in names] for choice in choices])


def _probes(measured: Measurements, correction: str, period: int, seed: int) -> list[dict[str, Any]]:
    before = [one["kl"] for one in measured.probes[UNCORRECTED]]
    losses_before = _mean([one["task_loss"] for one in measured.probes[UNCORRECTED]])
    ours = Variant("dualselect", correction)

    def reduced_by(variant: Variant, block: int) -> Reduction:
        return reduction(before, [one["kl"] for one in measured.probes[variant]], seed=seed, block=block)

    any_moved = any(_mean(one) > MIN_DIVERGENCE for one in before)
    rows = []
    for variant, results in measured.probes.items():
        block = period if variant.strategy == "periodic_random" else 1
        reduced = reduced_by(variant, block) if any_moved and variant != UNCORRECTED else None
        loss = _mean([one["task_loss"] for one in results])
        rows.append(
            {
                "strategy": variant.strategy,
                "correction": variant.correction,
                "batches": len(results),
                "unmoved": reduced.unmoved if reduced else None,
                "kl": _mean([value for one in results for value in one["kl"]]),
                "task_loss": loss,
                "task_loss_increase": loss - losses_before,
                **_ends("median", reduced.median if reduced else None),
                **_ends("p90", reduced.p90 if reduced else None),
                **_ends("dualselect_ahead", reduced_by(ours, block).ahead_of(reduced) if reduced else None),
            }
        )
    return rows


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    value, low, high = (interval.value, interval.low, interval.high) if interval else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
