"""The two sides of a reference pool: refusals of harmful requests, and helpful answers to harmless ones.

A pool of refusals alone teaches a model to refuse. A refusal is contrasted with a compliance, and a helpful answer
with a refusal. These two differences oppose each other and would cancel in one mean, so each side has its own quota
of references, its own direction and its own correction.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datasets import Dataset

from dualselect.data.turns import content_of
from dualselect.errors import DataError
from dualselect.gradients import GradientLayout
from dualselect.judges import is_refusal
from dualselect.training.config import DualSelectConfig
from dualselect.training.preparation import PreparedRows, contrast_rows
from dualselect.training.references import ChooseReferences, ReferencePool
from dualselect.training.step import RunGradients


logger = logging.getLogger(__name__)

SIDES = ("refusing", "helping")
"""What the references of side 0 and side 1 do, if a pool has two sides."""
LEAST_REFERENCES, LEAST_SHARE = 4, 0.1
"""A side needs this many references, and this share of the pool."""
ENOUGH_REFUSALS = 60
"""With 30 refusals in the pool, the filter finds a fifth less than with 60 (measured: docs/results.md)."""
HELD_OUT, HELD_OUT_SHARE = 8, 4
"""References of each side that are held out with `rho: auto`: at most 8, and at most one in 4."""


@dataclass(frozen=True)
class References:
    """The references of a run by what they are used for.

    Attributes:
        pool: The references that are selected from.
        sides: The side of each of them, from 0.
        held_out: Tokens of those that measure what is lost with `rho: auto`; None without it.
        held_out_sides: The side of each of these.
    """

    pool: PreparedRows
    sides: list[int]
    held_out: Dataset | None = None
    held_out_sides: list[int] = field(default_factory=list)


def divided(rows: PreparedRows, config: DualSelectConfig) -> References:
    """Tell the sides of the references and, with `rho: auto`, hold some of them out.

    Raises:
        DataError: A side is too small to hold a reference out.
    """
    sides = sides_of(rows, config)
    if config.fixed_rho is not None:
        return References(rows, sides)
    apart = held_out_positions(sides)
    few = [side for side in set(sides) if side not in {sides[position] for position in apart}]
    if few:
        raise DataError(
            f"rho: auto holds out one reference in {HELD_OUT_SHARE}, but a side of the pool has only "
            f"{sides.count(few[0])}: give at least {HELD_OUT_SHARE}, or write a number for rho"
        )
    kept = sorted(set(range(len(sides))) - set(apart))
    pool = replace(rows, tokens=rows.tokens.select(kept))
    return References(
        pool,
        [sides[position] for position in kept],
        rows.tokens.select(apart),
        [sides[position] for position in apart],
    )


def reference_pool(
    references: References,
    tokenizer: Any,
    collate: Callable[[list[Any]], Mapping[str, Any]],
    run: RunGradients,
    layout: GradientLayout,
    config: DualSelectConfig,
    choose: ChooseReferences | None,
) -> ReferencePool:
    """The pool of the references with their contrasts; see `ReferencePool` for the other arguments.

    Raises:
        DataError: The pool is empty, or a reference has no contrast.
    """
    rows = references.pool
    refusals = references.sides.count(0)
    if config.filters_by_conflict and config.reference_contrast != "none" and refusals < ENOUGH_REFUSALS:
        logger.warning(
            "the filter is fitted on %d refusals of the pool and finds less than with %d or more; builtin has 100",
            refusals,
            ENOUGH_REFUSALS,
        )
    contrast = contrast_rows(rows, tokenizer, config, references.sides)
    check_pool(rows.tokens, contrast, config.reference_top_k)
    ids = rows.ids_of(rows.indices)
    filters, sides = config.filters_by_conflict, references.sides
    return ReferencePool(rows.tokens, ids, contrast, collate, run, layout, config, choose, sides, filters)


def check_pool(rows: Dataset, contrast: Dataset | None, wanted: int | None) -> None:
    """Reject a pool that cannot be used, and warn if it is smaller than the number of references to keep.

    Raises:
        DataError: The pool is empty, or a reference has no contrast.
    """
    if not len(rows):
        raise DataError("the reference pool is empty: pass a reference_dataset with at least one safe response")
    if contrast is not None and len(contrast) != len(rows):
        raise DataError(
            f"{len(rows) - len(contrast)} of {len(rows)} references have no usable contrast response: raise max_length"
            " or set reference_contrast: none"
        )
    if wanted and wanted > len(rows):
        logger.warning("reference_top_k is %d but the pool has only %d rows: all are kept", wanted, len(rows))


def sides_of(rows: PreparedRows, config: DualSelectConfig) -> list[int]:
    """The side of each reference, by the wording of its response (`judges/refusal.py`, English only).

    Returns:
        An index of `SIDES` per reference. All are 0 if the pool counts as one side: `reference_sides` is `one`, the
        rows are tokenized or plain text, or a side has fewer than `LEAST_REFERENCES` references or less than
        `LEAST_SHARE` of them.
    """
    one = [0] * len(rows.tokens)
    if config.reference_sides == "one" or rows.conversations is None:
        return one
    sides = [0 if _refuses(row) else 1 for row in rows.conversations.select(rows.indices)]
    fewest = min(sides.count(0), sides.count(1))
    if fewest < LEAST_REFERENCES or fewest < LEAST_SHARE * len(sides):
        return one
    logger.info("reference pool: %d refusals and %d helpful answers", sides.count(0), sides.count(1))
    return sides


def held_out_positions(sides: Sequence[int]) -> list[int]:
    """Positions of the references to hold out, evenly spaced within each side."""
    found: list[int] = []
    for side in sorted(set(sides)):
        members = [position for position, one in enumerate(sides) if one == side]
        count = min(HELD_OUT, len(members) // HELD_OUT_SHARE)
        found += [members[place * len(members) // count] for place in range(count)]
    return sorted(found)


def _refuses(row: dict[str, Any]) -> bool:
    prompt, completion = row["prompt"], row["completion"]
    asked = prompt if isinstance(prompt, str) else content_of(prompt[-1]) if prompt else ""
    return is_refusal(completion if isinstance(completion, str) else content_of(completion[-1]), asked)
