"""Counts over all rows, kept while their lines are written: constant memory but for a few numbers of each row."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from dualselect.auditing.detection import detection
from dualselect.auditing.measuring import CONTROL
from dualselect.auditing.negatives import ROWS_OF_A_KIND
from dualselect.auditing.settings import BUDGETS
from dualselect.auditing.survey import MOST_KINDS, OTHER_KINDS
from dualselect.evaluation.intervals import rate, wilson


BIN_WIDTH = 0.01
"""Of the histograms of cosines, from -1 to 1."""
BINS = 200
BUILTIN_MARK = "built-in"
"""What rows that are no data of the user's are marked with."""


@dataclass(frozen=True)
class Ranking:
    """Where each scored row stands among all, by score: the lowest is kept first. 5 bytes for each row.

    Attributes:
        ranks: 1 for the highest score; 0 where unscored. Shape (n,).
        keeping: How many of `BUDGETS` keep it; the largest ones do. Shape (n,).
    """

    ranks: np.ndarray
    keeping: np.ndarray

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], count: int) -> "Ranking":
        """Rank the rows of a store, reading their lines once; some 40 bytes for each row while it does.

        A budget keeps a row when those before it do not reach the budget, so that the row that crosses the line is
        kept, as in `choose_by_tokens`.
        """
        scores, tokens = np.full(count, np.nan), np.zeros(count, dtype=np.int32)
        for place, line in enumerate(lines):
            if not line["lacks"]:
                scores[place], tokens[place] = line["score"], line["tokens"]
        order = np.argsort(scores, kind="stable")[: int(np.isfinite(scores).sum())]
        del scores
        tokens = tokens[order]
        before = tokens.cumsum(dtype=np.int64)
        total = int(before[-1]) if len(before) else 0
        before -= tokens
        reached = np.array(sorted(BUDGETS)) * total - 1e-9 * total
        ranks, keeping = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.uint8)
        ranks[order] = np.arange(len(order), 0, -1, dtype=np.int32)
        keeping[order] = len(BUDGETS) - np.searchsorted(reached, before, side="right")
        return cls(ranks, keeping)

    def keeps(self, place: int) -> dict[str, bool]:
        """Whether each budget keeps a row."""
        return {f"{budget:g}": bool(number < self.keeping[place]) for number, budget in enumerate(BUDGETS)}


@dataclass
class KindCounts:
    """Counts of the rows of one kind, or of one category."""

    rows: int = 0
    scored: int = 0
    conflict: int = 0
    cosines: float = 0.0
    histogram: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)

    def add(self, line: Mapping[str, Any]) -> None:
        """Count one finished row."""
        self.rows += 1
        if line["unscored"]:
            return
        self.scored += 1
        self.conflict += line["conflict"]
        self.cosines += line["cosine"]
        self.histogram[min(BINS - 1, int((line["cosine"] + 1) / BIN_WIDTH))] += 1
        self.categories.update(it["category"] for it in line["conflict_categories"])
        self.kept.update(budget for budget, kept in line["kept"].items() if kept)

    def as_values(self, categories: Sequence[str]) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "conflict": share(self.conflict, self.scored),
            "mean_cosine": self.cosines / self.scored if self.scored else None,
            "histogram": {str(place): self.histogram[place] for place in sorted(self.histogram)},
            "categories": {name: share(self.categories[name], self.scored) for name in categories},
            "kept": {f"{budget:g}": share(self.kept[f"{budget:g}"], self.scored) for budget in BUDGETS},
        }


class Counts:
    """Counts of everything that the summary tells.

    Args:
        categories: Names of the safety categories.
        labelled: Whether some rows are known to be risky.
        quiet: No progress bar.
    """

    def __init__(self, categories: Sequence[str], *, labelled: bool, quiet: bool = True) -> None:
        self._categories, self._labelled, self._quiet = categories, labelled, quiet
        self.all = KindCounts()
        self.kinds: dict[str, KindCounts] = defaultdict(KindCounts)
        self.of_category: dict[str, KindCounts] = defaultdict(KindCounts)
        self.unscored: Counter[str] = Counter()
        self.kept_tokens = self.tokens = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_in_conflict: Counter[str] = Counter()
        self._kept_squares = self._squares = 0
        self._known = _KnownRows()

    def add(self, line: Mapping[str, Any], kind: str) -> None:
        """Count one finished row."""
        self.all.add(line)
        self.kinds[kind].add(line)
        category = line["category"]
        if category:
            known = category in self.of_category or len(self.of_category) < MOST_KINDS
            self.of_category[category if known else OTHER_KINDS].add(line)
        if line["unscored"]:
            self.unscored[line["unscored"]] += 1
            return
        tokens, kept = line["tokens"], 0 if line["conflict"] else line["tokens"]
        self.tokens += tokens
        self.kept_tokens += kept
        self._squares += tokens**2
        self._kept_squares += kept**2
        for budget, kept in line["kept"].items():
            self._dropped[budget] += not kept
            self._dropped_in_conflict[budget] += not kept and line["conflict"]
        if self._labelled:
            self._known.add(line, kind)

    @property
    def kept_token_share(self) -> dict[str, float | None]:
        """Share of supervised tokens in rows without conflict, and its 95% interval as for a sample of many rows.

        The interval is Wilson's for as many rows of equal weight as have the variance of the ratio, linearized
        (Cochran 1977, 6.4), but for no more than (sum of tokens)^2 / sum of tokens^2 (Kish 1965): where nearly all are
        kept, or none, the variance found says nothing.
        """
        if not self.tokens:
            return {"value": None, "low": None, "high": None}
        count, ratio = self.all.scored, self.kept_tokens / self.tokens
        # a row's tokens are kept or not, so the sum of kept times all is the sum of kept times kept
        squares = max(0.0, self._kept_squares * (1 - 2 * ratio) + ratio**2 * self._squares)
        variance = squares / max(1, count - 1) * count / self.tokens**2
        alike = self.tokens**2 / self._squares
        if variance:
            alike = min(alike, ratio * (1 - ratio) / variance)
        low, high = wilson(ratio, alike)
        return {"value": ratio, "low": min(low, ratio), "high": max(high, ratio)}

    def all_as_values(self) -> dict[str, Any]:
        """Of all rows."""
        return self.all.as_values(self._categories)

    def kinds_as_values(self) -> dict[str, Any]:
        """Of each kind."""
        return {kind: found.as_values(self._categories) for kind, found in sorted(self.kinds.items())}

    def categories_as_values(self) -> dict[str, Any]:
        """Of each category of rows."""
        return {
            name: {"scored": found.scored, "conflict": share(found.conflict, found.scored)}
            for name, found in sorted(self.of_category.items())
        }

    def budgets_as_values(self) -> dict[str, Any]:
        """Of each budget: the rows that it drops, and how many of these are in conflict."""
        return {
            f"{budget:g}": {
                "dropped": self._dropped[f"{budget:g}"],
                "dropped_in_conflict": self._dropped_in_conflict[f"{budget:g}"],
            }
            for budget in BUDGETS
        }

    def detection_as_values(self, negatives: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """How well each score finds the known risky rows; None where no row of the data is known to be risky.

        Args:
            negatives: Built-in rows: `kind`, `scores` and the control; those of a kind of which the data have as many
                are left out.
        """
        if not self._labelled:
            return None
        risky, kinds, values = self._known.as_arrays()
        counts = {"risky": int(risky.sum()), "others": int((~risky).sum())}
        others = sorted(set(kinds[~risky].tolist()))
        own = {self._known.kinds[kind] for kind in others if (kinds[~risky] == kind).sum() >= ROWS_OF_A_KIND}
        builtin = sorted({row["kind"] for row in negatives} - own)
        if not risky.any() or not (others or builtin):
            return counts | {"scores": {}}
        found: dict[str, dict[str, Any]] = {}
        total = len(values) * (1 + len(others) + len(builtin))
        with tqdm(total=total, desc="Resampling", unit="measure", leave=False, disable=self._quiet) as bar:
            for name, scores in values.items():
                of_all = detection(scores, risky).as_values() if others else {"auroc": None, "recall": {}}
                found[name] = of_all | {"against": {}}
                bar.update()
                for kind in others:
                    chosen = risky | (kinds == kind)
                    auroc = detection(scores[chosen], risky[chosen]).auroc
                    found[name]["against"][self._known.kinds[kind]] = vars(auroc)
                    bar.update()
                for kind in builtin:
                    of_kind = [(row["scores"] | row)[name] for row in negatives if row["kind"] == kind]
                    both = np.concatenate([scores[risky], of_kind])
                    auroc = detection(both, np.arange(len(both)) < counts["risky"]).auroc
                    found[name]["against"][f"{kind} ({BUILTIN_MARK})"] = vars(auroc)
                    bar.update()
        return counts | {"scores": found}


def share(successes: int, count: int) -> dict[str, Any]:
    """A share with its Wilson interval; of nothing there is none."""
    if not count:
        return {"value": None, "low": None, "high": None, "successes": 0, "count": 0}
    found = rate(successes, count)
    return {
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "successes": found.successes,
        "count": found.count,
    }


class _KnownRows:
    """Scores of rows of which it is known whether they are risky: 4 bytes for each, and 2 more for a row."""

    def __init__(self) -> None:
        self.kinds: list[str] = []
        self._risky, self._kinds = bytearray(), bytearray()
        self._scores: dict[str, array[float]] = defaultdict(lambda: array("f"))

    def add(self, line: Mapping[str, Any], kind: str) -> None:
        if kind not in self.kinds:
            self.kinds.append(kind)
        self._risky.append(line["risky"])
        self._kinds.append(self.kinds.index(kind))
        for name, value in line["scores"].items():
            self._scores[name].append(value)
        if CONTROL in line:
            self._scores[CONTROL].append(line[CONTROL])

    def as_arrays(self) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        risky, kinds = (np.frombuffer(bytes(some), dtype=np.uint8) for some in (self._risky, self._kinds))
        return risky.astype(bool), kinds, {name: np.asarray(found) for name, found in self._scores.items()}
