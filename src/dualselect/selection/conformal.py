"""Conformal p-values: how unusual the score of a row is among the scores of harmless rows.

Split conformal outlier detection (Vovk et al. 2005; Bates et al., Annals of Statistics 2023): the p-value of a new
harmless row is at most a with probability a or less, for any distribution of scores, if the row and the calibration
rows are exchangeable. Rows of one kind are not exchangeable with those of another, so each kind of harmless row gives
its own p-value, and the largest one decides.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def rows_needed(rate: float) -> int:
    """The smallest number of calibration rows of a kind at which any row can be dropped: 1 / (n + 1) <= rate."""
    return math.ceil(1 / rate - 1e-9) - 1


@dataclass(frozen=True)
class HarmlessScores:
    """Scores of held-out harmless rows.

    Attributes:
        by_kind: Scores of each kind, shape (n_kind,) each, float64. A high score means conflict.
    """

    by_kind: Mapping[str, Tensor]

    @classmethod
    def of(cls, scores: Tensor, kinds: Sequence[str]) -> "HarmlessScores":
        """Group the scores of n rows, shape (n,), by the kind of each row; scores that are not finite are left out."""
        finite = torch.isfinite(scores)
        return cls(
            {kind: scores[torch.tensor([one == kind for one in kinds]) & finite] for kind in sorted(set(kinds))}
        )

    def p_values(self, scores: Tensor) -> Tensor:
        """The largest p-value over the kinds: (1 + number of harmless rows with this score or more) / (n_kind + 1).

        Args:
            scores: Shape (n,), finite.

        Returns:
            Shape (n,), float64, in (0, 1]; all 1 if there are no kinds.
        """
        found = torch.zeros(len(scores), dtype=torch.float64)
        for harmless in self.by_kind.values():
            ordered = harmless.double().sort().values
            as_high = len(ordered) - torch.searchsorted(ordered, scores.double().contiguous(), side="left")
            found = found.maximum((1 + as_high).double() / (len(ordered) + 1))
        return found if self.by_kind else torch.ones(len(scores), dtype=torch.float64)

    def threshold(self, rate: float) -> float:
        """The largest score that is kept: a row with a higher one has a p-value of `rate` or less.

        Args:
            rate: Share of harmless rows that may be dropped, in (0, 1).

        Returns:
            `math.inf`, so that nothing is dropped, if a kind has fewer than `rows_needed(rate)` rows or there is none.
        """
        return max((_threshold(scores, rate) for scores in self.by_kind.values()), default=math.inf)

    def dropped_if_left_out(self, rate: float) -> dict[str, float]:
        """For each kind, the share of its rows that would be dropped if only the other kinds were known.

        It estimates what happens to a kind of harmless row that nobody thought of. Empty with fewer than two kinds.
        """
        if len(self.by_kind) < 2:
            return {}
        found = {}
        for kind, scores in self.by_kind.items():
            others = HarmlessScores({name: it for name, it in self.by_kind.items() if name != kind})
            found[kind] = float((scores.double() > others.threshold(rate)).double().mean())
        return found


def _threshold(harmless: Tensor, rate: float) -> float:
    allowed = math.floor(rate * (len(harmless) + 1) + 1e-9)  # (1 + rows as high) <= rate * (n + 1)
    return math.inf if allowed < 1 else float(harmless.double().sort(descending=True).values[allowed - 1])
