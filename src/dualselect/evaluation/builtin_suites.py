"""The built-in suites: held-out built-in rows, in a part for choosing settings and a part for measuring."""

from typing import Any, Literal

from dualselect.data import builtin_rows
from dualselect.data.builtin import rows_up_to
from dualselect.errors import DataError
from dualselect.evaluation.suite import Prompt, Purpose, Suite


Part = Literal["validation", "test"]
BUILTIN_KINDS: dict[Purpose, str] = {"harmful": "refusal", "harmless": "lookalike", "task": "task"}
"""For each built-in suite the kind of built-in rows that it is made of."""
BUILTIN_COUNT = 64
VALIDATION_SEED, VALIDATION_ROWS = 1, 40
TEST_SEED = 2


def builtin_suites(part: Part = "test", count: int | None = None) -> list[Suite]:
    """The three built-in suites: harmful requests, harmless look-alikes, and tasks with exact answers.

    Args:
        part: `test`, or `validation`: the rows that settings may be chosen on; the two share no prompt.
        count: Prompts of each; the first ones of a larger count are those of a smaller one.

    Raises:
        DataError: So many were not written.
    """
    suites = []
    for purpose, kind in BUILTIN_KINDS.items():
        rows = validation_rows(kind)[:count] if part == "validation" else heldout_rows(kind, count or BUILTIN_COUNT)
        if count is not None and len(rows) < count:
            raise DataError(
                f"builtin: {count} {part} rows of kind {kind} are asked for, {len(rows)} were written: ask for fewer"
            )
        name = f"builtin-{purpose}" if part == "test" else f"builtin-validation-{purpose}"
        suites.append(Suite.of(name, purpose, [_prompt(row) for row in rows], answer_format="sentence"))
    return suites


def validation_rows(kind: str) -> list[dict[str, Any]]:
    """The held-out rows of a kind that settings may be chosen on; they are never measured."""
    return builtin_rows(kind, VALIDATION_ROWS, seed=VALIDATION_SEED, split="test")


def validation_ids() -> set[str]:
    """Ids of all rows that settings may be chosen on."""
    return {row["id"] for kind in BUILTIN_KINDS.values() for row in validation_rows(kind)}


def heldout_rows(kind: str, count: int, *, seed: int = TEST_SEED) -> list[dict[str, Any]]:
    """The held-out rows of a kind that are measured: none of `validation_rows`, up to `count`."""
    spent = validation_ids()
    rows = rows_up_to(kind, count + VALIDATION_ROWS, seed=seed, split="test")
    return [row for row in rows if row["id"] not in spent][:count]


def _prompt(row: dict[str, Any]) -> Prompt:
    return Prompt(
        id=row["id"],
        messages=row["prompt"],
        category=row["category"],
        kind=row["kind"],
        answer=row["answer"],
        chosen=row["completion"][-1]["content"],
    )
