"""What the selection log tells: of each refresh, of each task row, of each reference."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dualselect.runs.summary import UNKNOWN_KIND


UNKNOWN_CATEGORY = "(no category)"
WARMUP = "warm-up"


class Offer(NamedTuple):
    """One time that a task row came up.

    Attributes:
        step: Optimizer step, from 1.
        kept: Whether it was learned; None in the warm-up, which learns everything.
        loss: Its loss.
        cosine: Of its gradient to the reference direction; None in the warm-up.
        score: Its task score; None in the warm-up.
        why: What decided.
    """

    step: int
    kept: bool | None
    loss: float
    cosine: float | None
    score: float | None
    why: str


@dataclass
class TaskRow:
    """A task row and every time that it came up."""

    id: str
    kind: str
    category: str
    offers: list[Offer] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        """How often it was dropped."""
        return sum(offer.kept is False for offer in self.offers)

    @property
    def last(self) -> Offer:
        """The last time that it was up to the selection, otherwise the last of the warm-up."""
        return next((offer for offer in reversed(self.offers) if offer.kept is not None), self.offers[-1])

    @property
    def fate(self) -> str:
        """`always kept`, `sometimes dropped`, `always dropped`, or `warm-up only`."""
        chosen = sum(offer.kept is not None for offer in self.offers)
        if not chosen:
            return f"{WARMUP} only"
        if not self.dropped:
            return "always kept"
        return "always dropped" if self.dropped == chosen else "sometimes dropped"


@dataclass(frozen=True)
class RefreshChange:
    """A choice of references beside the one before.

    Attributes:
        step: The optimizer step that it was made for.
        kept: Ids of the references kept.
        pool: Number of references in the pool.
        shares: For each category the share of its references that was kept.
        entering: Categories of which the choice before kept none, this one some; all of them at the first.
        leaving: The reverse.
        arrived: Number of references kept now and not before.
        left: The reverse.
        jaccard: Size of the intersection with the choice before over that of the union; None at the first.
        conflict_threshold: Cosine under which a task row conflicts; None unless the budget is `auto`.
        task_turned: Cosine of the task direction to that of the refresh before; None where the log has none.
        reference_turned: Cosine of the reference direction in use until now to that of the references chosen now; None
            where the log has none.
        staleness: Cosine of the reference direction in use until now to that of the same references at the weights of
            now, so that a changed choice is no part of it; None where the log has none.
    """

    step: int
    kept: frozenset[str]
    pool: int
    shares: dict[str, float]
    entering: list[str]
    leaving: list[str]
    arrived: int
    left: int
    jaccard: float | None
    conflict_threshold: float | None
    task_turned: float | None
    reference_turned: float | None
    staleness: float | None


@dataclass
class Reference:
    """A reference and what each refresh found.

    Attributes:
        found: Step, kept, preservation loss, cosine to the task direction, and score of each refresh.
    """

    id: str
    kind: str
    category: str
    found: list[tuple[int, bool, float, float, float]] = field(default_factory=list)

    @property
    def times_chosen(self) -> int:
        """Number of refreshes that chose it."""
        return sum(kept for _, kept, *_ in self.found)


def task_rows(log: Iterable[dict[str, Any]]) -> list[TaskRow]:
    """Every task row that came up, in the order of first coming up."""
    rows: dict[str, TaskRow] = {}
    threshold = None
    for line in log:
        if line["event"] == "refresh":
            threshold = line.get("conflict_threshold")
        if line["event"] in ("refresh", "end"):
            continue
        count = len(line["ids"])
        kinds, categories = _labels(line)
        kept = line.get("kept") or [None] * count
        cosines, scores = line.get("cosines") or [None] * count, line.get("scores") or [None] * count
        reasons = [WARMUP] * count if line["event"] == "warmup" else _reasons(line, threshold)
        for place, name in enumerate(line["ids"]):
            row = rows.setdefault(name, TaskRow(name, kinds[place], categories[place]))
            row.offers.append(
                Offer(line["step"], kept[place], line["losses"][place], cosines[place], scores[place], reasons[place])
            )
    return list(rows.values())


def _reasons(line: dict[str, Any], threshold: float | None) -> list[str]:
    """What decided about each row of a step, told by the log alone."""
    count = len(line["ids"])
    by_score = sorted(range(count), key=lambda place: line["scores"][place])
    if threshold is None:
        rank = {place: number for number, place in enumerate(by_score, 1)}
        return [f"score is number {rank[place]} of {count}, lowest first" for place in range(count)]
    reasons = [
        f"cosine {cosine:.3f} {'below' if cosine < threshold else 'not below'} {threshold:.3f}"
        for cosine in line["cosines"]
    ]
    if all(cosine < threshold for cosine in line["cosines"]):
        reasons[by_score[0]] += ", but all are: the lowest score stays"
    return reasons


def refresh_changes(log: Iterable[dict[str, Any]]) -> list[RefreshChange]:
    """Every refresh, beside the one before it."""
    changes: list[RefreshChange] = []
    before: dict[str, str] = {}
    for line in log:
        if line["event"] != "refresh":
            continue
        _, categories = _labels(line)
        pool, chosen = Counter(categories), Counter[str]()
        now: dict[str, str] = {}
        for name, category, kept in zip(line["ids"], categories, line["kept"], strict=True):
            if kept:
                now[name] = category
                chosen[category] += 1
        earlier = set(before.values())
        changes.append(
            RefreshChange(
                line["step"],
                frozenset(now),
                len(line["ids"]),
                {category: chosen[category] / pool[category] for category in sorted(pool)},
                sorted(set(chosen) - earlier),
                sorted(earlier - set(chosen)),
                len(now.keys() - before.keys()),
                len(before.keys() - now.keys()),
                jaccard(now, before) if changes else None,
                line.get("conflict_threshold"),
                line.get("task_direction_cosine"),
                line.get("reference_direction_cosine"),
                line.get("same_references_cosine"),
            )
        )
        before = now
    return changes


def task_drift(log: Iterable[dict[str, Any]]) -> list[tuple[int, float]]:
    """At each step the cosine of the task direction since the last refresh to the one at the last refresh."""
    name = "task_direction_cosine"
    return [(line["step"], line[name]) for line in log if line["event"] == "step" and line.get(name) is not None]


def last_staleness(log: Iterable[dict[str, Any]]) -> float | None:
    """`staleness` as of a refresh, but at the end of the run; None where the log has none."""
    return next((line["same_references_cosine"] for line in log if line["event"] == "end"), None)


def jaccard(first: Iterable[str], second: Iterable[str]) -> float:
    """Size of the intersection over that of the union; 1 for two empty sets."""
    one, other = set(first), set(second)
    return len(one & other) / len(one | other) if one | other else 1.0


def references(log: Iterable[dict[str, Any]]) -> list[Reference]:
    """Every reference of the pool, in pool order."""
    found: dict[str, Reference] = {}
    for line in log:
        if line["event"] != "refresh":
            continue
        kinds, categories = _labels(line)
        for place, name in enumerate(line["ids"]):
            reference = found.setdefault(name, Reference(name, kinds[place], categories[place]))
            reference.found.append(
                (
                    line["step"],
                    line["kept"][place],
                    line["preservation_losses"][place],
                    line["cosines"][place],
                    line["scores"][place],
                )
            )
    return list(found.values())


def cosines_by_kind(rows: Sequence[TaskRow]) -> dict[str, list[tuple[float, float]]]:
    """For each kind the mean cosine of its rows at each step, as (step, cosine)."""
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for offer in row.offers:
            if offer.cosine is not None:
                found[row.kind][offer.step].append(offer.cosine)
    return {
        kind: [(step, sum(some) / len(some)) for step, some in sorted(steps.items())]
        for kind, steps in sorted(found.items())
    }


def _labels(line: dict[str, Any]) -> tuple[list[str], list[str]]:
    count = len(line["ids"])
    kinds = [kind or UNKNOWN_KIND for kind in line.get("kinds") or [""] * count]
    return kinds, [category or UNKNOWN_CATEGORY for category in line.get("categories") or [""] * count]
