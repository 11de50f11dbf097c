"""Streaming aggregates over all rows; O(1) memory plus a few bytes per row."""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from dualselect.auditing.detection import detection
from dualselect.auditing.hard_negatives import ROWS_OF_A_KIND
from dualselect.auditing.measuring import CONTROL
from dualselect.auditing.settings import BUDGETS
from dualselect.auditing.survey import MOST_KINDS, OTHER_KINDS
from dualselect.evaluation.intervals import rate, wilson


BIN_WIDTH = 0.1
"""Bin width of the histograms of conflict scores, in standard deviations of harmless rows."""
LOWEST, HIGHEST = -5.0, 15.0
"""Range of these histograms; scores beyond it are in the outermost bins."""
BUILTIN_MARK = "built-in"
"""Marks built-in rows, which are not part of the user's data."""


@dataclass(frozen=True)
class Ranking:
    """Ranks of all rows by score, and the token budgets that keep each row; 5 bytes per row.

    Attributes:
        ranks: 1 for the highest score, 0 if unscored, shape (n,).
        n_budgets_keeping: Number of `BUDGETS` that keep the row, shape (n,). These are the largest budgets, since a
            larger budget keeps all rows that a smaller one keeps.
    """

    ranks: np.ndarray
    n_budgets_keeping: np.ndarray

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]], count: int) -> "Ranking":
        """Rank rows in one pass over their lines; takes about 40 bytes per row.

        Rows are kept in ascending order of score. The row that crosses the budget is kept, as in `choose_by_tokens`.

        Args:
            lines: Lines of a `ScoreStore`.
            count: Number of lines.
        """
        scores, tokens = np.full(count, np.nan), np.zeros(count, dtype=np.int32)
        for index, line in enumerate(lines):
            if not line["lacks"]:
                scores[index], tokens[index] = line["score"], line["tokens"]
        order = np.argsort(scores, kind="stable")[: int(np.isfinite(scores).sum())]
        del scores
        tokens = tokens[order]
        tokens_before = tokens.cumsum(dtype=np.int64)
        total = int(tokens_before[-1]) if len(tokens_before) else 0
        tokens_before -= tokens
        budget_tokens = np.array(sorted(BUDGETS)) * total - 1e-9 * total
        ranks, n_budgets_keeping = np.zeros(count, dtype=np.int32), np.zeros(count, dtype=np.uint8)
        ranks[order] = np.arange(len(order), 0, -1, dtype=np.int32)
        n_budgets_keeping[order] = len(BUDGETS) - np.searchsorted(budget_tokens, tokens_before, side="right")
        return cls(ranks, n_budgets_keeping)

    def keeps(self, index: int) -> dict[str, bool]:
        """Whether each budget keeps a row."""
        return {f"{budget:g}": bool(number < self.n_budgets_keeping[index]) for number, budget in enumerate(BUDGETS)}


@dataclass
class GroupAggregates:
    """Aggregates of the rows of one kind or category."""

    rows: int = 0
    scored: int = 0
    conflict: int = 0
    conflict_sum: float = 0.0
    histogram: Counter[int] = field(default_factory=Counter)
    categories: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)

    def add(self, line: Mapping[str, Any]) -> None:
        """Add one finished row."""
        self.rows += 1
        if line["unscored"]:
            return
        self.scored += 1
        self.conflict += line["conflict"]
        self.conflict_sum += line["conflict_score"]
        within = min(max(line["conflict_score"], LOWEST), HIGHEST - BIN_WIDTH / 2)
        self.histogram[int((within - LOWEST) / BIN_WIDTH)] += 1
        self.categories.update(it["category"] for it in line["conflict_categories"])
        self.kept.update(budget for budget, kept in line["kept"].items() if kept)

    def as_values(self, categories: Sequence[str]) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "conflict": share(self.conflict, self.scored),
            "mean_conflict": self.conflict_sum / self.scored if self.scored else None,
            "histogram": {str(bin_): self.histogram[bin_] for bin_ in sorted(self.histogram)},
            "categories": {name: share(self.categories[name], self.scored) for name in categories},
            "kept": {f"{budget:g}": share(self.kept[f"{budget:g}"], self.scored) for budget in BUDGETS},
        }


class Aggregates:
    """Aggregates over all rows, for the summary.

    Args:
        categories: Names of the safety categories.
        labelled: Whether some rows are labeled risky.
        quiet: No progress bar.
    """

    def __init__(self, categories: Sequence[str], *, labelled: bool, quiet: bool = True) -> None:
        self._categories, self._labelled, self._quiet = categories, labelled, quiet
        self.all = GroupAggregates()
        self.kinds: dict[str, GroupAggregates] = defaultdict(GroupAggregates)
        self.row_categories: dict[str, GroupAggregates] = defaultdict(GroupAggregates)
        self.unscored: Counter[str] = Counter()
        self.kept_tokens = self.tokens = 0
        self._dropped: Counter[str] = Counter()
        self._dropped_in_conflict: Counter[str] = Counter()
        self._kept_tokens_squared = self._tokens_squared = 0
        self._labelled_rows = _LabelledRows()

    def add(self, line: Mapping[str, Any], kind: str) -> None:
        """Add one finished row."""
        self.all.add(line)
        self.kinds[kind].add(line)
        category = line["category"]
        if category:
            own_entry = category in self.row_categories or len(self.row_categories) < MOST_KINDS
            self.row_categories[category if own_entry else OTHER_KINDS].add(line)
        if line["unscored"]:
            self.unscored[line["unscored"]] += 1
            return
        tokens, kept = line["tokens"], 0 if line["conflict"] else line["tokens"]
        self.tokens += tokens
        self.kept_tokens += kept
        self._tokens_squared += tokens**2
        self._kept_tokens_squared += kept**2
        for budget, kept in line["kept"].items():
            self._dropped[budget] += not kept
            self._dropped_in_conflict[budget] += not kept and line["conflict"]
        if self._labelled:
            self._labelled_rows.add(line, kind)

    @property
    def kept_token_share(self) -> dict[str, float | None]:
        """Share of supervised tokens in rows without conflict, with a 95% Wilson interval at `n_eff`.

        The effective sample size `n_eff` is the number of equally weighted rows whose share would have the linearized
        variance of the ratio (Cochran 1977, 6.4). It is at most (sum of tokens)^2 / sum of tokens^2 (Kish 1965): if
        almost all rows are kept, or almost none, the estimated variance is unreliable.
        """
        if not self.tokens:
            return {"value": None, "low": None, "high": None}
        count, ratio = self.all.scored, self.kept_tokens / self.tokens
        # a row is kept or dropped as a whole, so sum(kept * tokens) = sum(kept^2)
        squared_residuals = max(0.0, self._kept_tokens_squared * (1 - 2 * ratio) + ratio**2 * self._tokens_squared)
        variance = squared_residuals / max(1, count - 1) * count / self.tokens**2
        n_eff = self.tokens**2 / self._tokens_squared
        if variance:
            n_eff = min(n_eff, ratio * (1 - ratio) / variance)
        low, high = wilson(ratio, n_eff)
        return {"value": ratio, "low": min(low, ratio), "high": max(high, ratio)}

    def all_as_values(self) -> dict[str, Any]:
        """All rows, as JSON values."""
        return self.all.as_values(self._categories)

    def kinds_as_values(self) -> dict[str, Any]:
        """Each kind of row, as JSON values."""
        return {kind: group.as_values(self._categories) for kind, group in sorted(self.kinds.items())}

    def categories_as_values(self) -> dict[str, Any]:
        """Each category of rows, as JSON values."""
        return {
            name: {"scored": group.scored, "conflict": share(group.conflict, group.scored)}
            for name, group in sorted(self.row_categories.items())
        }

    def budgets_as_values(self) -> dict[str, Any]:
        """For each budget, the number of rows that it drops and how many of them are in conflict."""
        return {
            f"{budget:g}": {
                "dropped": self._dropped[f"{budget:g}"],
                "dropped_in_conflict": self._dropped_in_conflict[f"{budget:g}"],
            }
            for budget in BUDGETS
        }

    def detection_as_values(self, negatives: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """Detection of the rows labeled risky by each score; None if no row is labeled.

        Args:
            negatives: Built-in hard negatives with `kind`, `scores` and the control. A kind is left out if the data
                contains `ROWS_OF_A_KIND` rows of it.
        """
        if not self._labelled:
            return None
        risky, kinds, values = self._labelled_rows.as_arrays()
        counts = {"risky": int(risky.sum()), "others": int((~risky).sum())}
        others = sorted(set(kinds[~risky].tolist()))
        own = {self._labelled_rows.kinds[kind] for kind in others if (kinds[~risky] == kind).sum() >= ROWS_OF_A_KIND}
        builtin = sorted({row["kind"] for row in negatives} - own)
        if not risky.any() or not (others or builtin):
            return counts | {"scores": {}}
        results: dict[str, dict[str, Any]] = {}
        total = len(values) * (1 + len(others) + len(builtin))
        with tqdm(total=total, desc="Bootstrap", unit="measure", leave=False, disable=self._quiet) as bar:
            for name, scores in values.items():
                overall = detection(scores, risky).as_values() if others else {"auroc": None, "recall": {}}
                results[name] = overall | {"against": {}}
                bar.update()
                for kind in others:
                    chosen = risky | (kinds == kind)
                    auroc = detection(scores[chosen], risky[chosen]).auroc
                    results[name]["against"][self._labelled_rows.kinds[kind]] = vars(auroc)
                    bar.update()
                for kind in builtin:
                    negative_scores = [(row["scores"] | row)[name] for row in negatives if row["kind"] == kind]
                    both = np.concatenate([scores[risky], negative_scores])
                    auroc = detection(both, np.arange(len(both)) < counts["risky"]).auroc
                    results[name]["against"][f"{kind} ({BUILTIN_MARK})"] = vars(auroc)
                    bar.update()
        return counts | {"scores": results}


def share(successes: int, count: int) -> dict[str, Any]:
    """A share with its 95% Wilson interval; None if count is 0."""
    if not count:
        return {"value": None, "low": None, "high": None, "successes": 0, "count": 0}
    estimate = rate(successes, count)
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "successes": estimate.successes,
        "count": estimate.count,
    }


class _LabelledRows:
    """Scores and labels of all rows: 4 bytes per score and 2 bytes per row."""

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
        risky, kinds = (np.frombuffer(bytes(codes), dtype=np.uint8) for codes in (self._risky, self._kinds))
        return risky.astype(bool), kinds, {name: np.asarray(scores) for name, scores in self._scores.items()}
