"""The selection log by refresh, by task row and by reference."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from dualselect.runs.summary import UNKNOWN_KIND


UNKNOWN_CATEGORY = "(no category)"
WARMUP = "warm-up"


class Occurrence(NamedTuple):
    """One occurrence of a task row in a batch.

    Attributes:
        step: Optimizer step, from 1.
        kept: Whether the row was kept; None in a warm-up without a filter.
        loss: Its loss.
        cosine: Cosine of its gradient to the reference direction; None during warm-up.
        conflict: Its conflict score; None with a fixed budget.
        score: Its task score; None during warm-up.
        reason: Why it was kept or dropped.
    """

    step: int
    kept: bool | None
    loss: float
    cosine: float | None
    conflict: float | None
    score: float | None
    reason: str


@dataclass
class TaskRow:
    """A task row and all its occurrences."""

    id: str
    kind: str
    category: str
    occurrences: list[Occurrence] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        """Number of occurrences that were dropped."""
        return sum(it.kept is False for it in self.occurrences)

    @property
    def last(self) -> Occurrence:
        """The last occurrence under selection, else the last one during warm-up."""
        return next((it for it in reversed(self.occurrences) if it.kept is not None), self.occurrences[-1])

    @property
    def selection_status(self) -> str:
        """`always kept`, `sometimes dropped`, `always dropped`, or `warm-up only`."""
        selections = sum(it.kept is not None for it in self.occurrences)
        if not selections:
            return f"{WARMUP} only"
        if not self.dropped:
            return "always kept"
        return "always dropped" if self.dropped == selections else "sometimes dropped"


@dataclass(frozen=True)
class RefreshChange:
    """A refresh of the selected references, compared with the previous one.

    The three cosines are None if the log does not have them, as at the first refresh.

    Attributes:
        step: The optimizer step of the refresh.
        selected: Ids of the selected references.
        pool: Number of references in the pool.
        shares: Selected share of each category's references.
        categories_added: Categories with a selected reference now and none before.
        categories_removed: Categories with a selected reference before and none now.
        n_added: Number of references selected now and not before.
        n_removed: Number of references selected before and not now.
        jaccard: Jaccard index with the previous selection; None at the first refresh.
        conflict_threshold: A task row with a higher conflict score is dropped; None unless the budget is `auto`.
        task_direction_cosine: Cosine of the task direction to that of the previous refresh.
        reference_direction_cosine: Cosine of the previous reference direction to the new one.
        same_references_cosine: Cosine of the previous reference direction to that of the same references recomputed
            with current weights; isolates drift from re-selection.
    """

    step: int
    selected: frozenset[str]
    pool: int
    shares: dict[str, float]
    categories_added: list[str]
    categories_removed: list[str]
    n_added: int
    n_removed: int
    jaccard: float | None
    conflict_threshold: float | None
    task_direction_cosine: float | None
    reference_direction_cosine: float | None
    same_references_cosine: float | None


class ReferenceScore(NamedTuple):
    """A reference at one refresh."""

    step: int
    selected: bool
    preservation_loss: float
    cosine: float
    score: float


@dataclass
class Reference:
    """A reference and its scores at all refreshes."""

    id: str
    kind: str
    category: str
    scores: list[ReferenceScore] = field(default_factory=list)

    @property
    def times_selected(self) -> int:
        """Number of refreshes that selected it."""
        return sum(it.selected for it in self.scores)


def task_rows(log: Iterable[dict[str, Any]]) -> list[TaskRow]:
    """All task rows of the log, in order of first occurrence."""
    rows: dict[str, TaskRow] = {}
    threshold = None
    for line in log:
        if line["event"] in ("filter", "refresh"):
            threshold = line.get("conflict_threshold")
        if line["event"] in ("filter", "refresh", "end"):
            continue
        count = len(line["ids"])
        kinds, categories = _labels(line)
        kept = line.get("kept") or [None] * count
        cosines, conflicts, scores = (line.get(name) or [None] * count for name in ("cosines", "conflicts", "scores"))
        reasons = _reasons(line, threshold) if line.get("kept") else [WARMUP] * count
        for index, name in enumerate(line["ids"]):
            row = rows.setdefault(name, TaskRow(name, kinds[index], categories[index]))
            row.occurrences.append(
                Occurrence(
                    line["step"],
                    kept[index],
                    line["losses"][index],
                    cosines[index],
                    conflicts[index],
                    scores[index],
                    reasons[index],
                )
            )
    return list(rows.values())


def _reasons(line: dict[str, Any], threshold: float | None) -> list[str]:
    """Why each row of a step was kept or dropped."""
    count = len(line["ids"])
    if threshold is None:
        by_score = sorted(range(count), key=lambda index: line["scores"][index])
        rank = {index: number for number, index in enumerate(by_score, 1)}
        return [f"score rank {rank[index]} of {count}, lowest first" for index in range(count)]
    return [
        f"conflict score {conflict:.2f} {'above' if conflict > threshold else 'not above'} threshold {threshold:.2f}"
        for conflict in line["conflicts"]
    ]


def refresh_changes(log: Iterable[dict[str, Any]]) -> list[RefreshChange]:
    """All refreshes, each compared with the previous one."""
    changes: list[RefreshChange] = []
    previous: dict[str, str] = {}
    for line in log:
        if line["event"] != "refresh":
            continue
        _, categories = _labels(line)
        pool, counts = Counter(categories), Counter[str]()
        current: dict[str, str] = {}
        for name, category, kept in zip(line["ids"], categories, line["kept"], strict=True):
            if kept:
                current[name] = category
                counts[category] += 1
        previous_categories = set(previous.values())
        changes.append(
            RefreshChange(
                line["step"],
                frozenset(current),
                len(line["ids"]),
                {category: counts[category] / pool[category] for category in sorted(pool)},
                sorted(set(counts) - previous_categories),
                sorted(previous_categories - set(counts)),
                len(current.keys() - previous.keys()),
                len(previous.keys() - current.keys()),
                jaccard(current, previous) if changes else None,
                line.get("conflict_threshold"),
                line.get("task_direction_cosine"),
                line.get("reference_direction_cosine"),
                line.get("same_references_cosine"),
            )
        )
        previous = current
    return changes


def task_drift(log: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    """Cosine of the running task direction to that of the last refresh, as (step, cosine)."""
    name = "task_direction_cosine"
    return [(line["step"], line[name]) for line in log if line["event"] == "step" and line.get(name) is not None]


def strengths(log: Iterable[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """With `rho: auto`, its value and the excess loss of the held-out references at each step, by side.

    Returns:
        (step, value) points by name; empty without `rho: auto`.
    """
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for line in log:
        if line["event"] == "step" and line.get("rho"):
            sides = [""] if len(line["rho"]) == 1 else [", refusals", ", helpful answers"]
            for name, values in (("rho", line["rho"]), ("excess loss", line["held_out_excess"])):
                for side, value in zip(sides, values, strict=True):
                    found[f"{name}{side}"].append((line["step"], value))
    return dict(found)


def harmless_if_left_out(log: Iterable[dict[str, Any]]) -> dict[str, float]:
    """At the last refresh, the share of each kind of harmless row that the other kinds alone would have dropped."""
    found: dict[str, float] = {}
    for line in log:
        if line["event"] == "refresh":
            found = line.get("dropped_if_left_out") or {}
    return found


def final_same_references_cosine(log: Iterable[dict[str, Any]]) -> float | None:
    """`RefreshChange.same_references_cosine` at the end of the run; None if the log does not have it."""
    return next((line["same_references_cosine"] for line in log if line["event"] == "end"), None)


def jaccard(first: Iterable[str], second: Iterable[str]) -> float:
    """Jaccard index; 1 for two empty sets."""
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def references(log: Iterable[dict[str, Any]]) -> list[Reference]:
    """All references of the pool, in pool order."""
    by_id: dict[str, Reference] = {}
    for line in log:
        if line["event"] != "refresh":
            continue
        kinds, categories = _labels(line)
        columns = zip(line["kept"], line["preservation_losses"], line["cosines"], line["scores"], strict=True)
        for name, kind, category, scores in zip(line["ids"], kinds, categories, columns, strict=True):
            reference = by_id.setdefault(name, Reference(name, kind, category))
            reference.scores.append(ReferenceScore(line["step"], *scores))
    return list(by_id.values())


def means_by_kind(
    rows: Sequence[TaskRow], number: Literal["cosine", "conflict"]
) -> dict[str, list[tuple[float, float]]]:
    """Mean of a number over the rows of each kind at each step, as (step, mean); empty if the log does not have it."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for it in row.occurrences:
            value = getattr(it, number)
            if value is not None:
                found[row.kind][it.step].append(value)
    return {
        kind: [(step, sum(values) / len(values)) for step, values in sorted(steps.items())]
        for kind, steps in sorted(found.items())
    }


def _labels(line: dict[str, Any]) -> tuple[list[str], list[str]]:
    count = len(line["ids"])
    kinds = [kind or UNKNOWN_KIND for kind in line.get("kinds") or [""] * count]
    return kinds, [category or UNKNOWN_CATEGORY for category in line.get("categories") or [""] * count]
