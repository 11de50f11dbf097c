"""What is asked of an audit, beside the settings of the training that it looks ahead to."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from dualselect.auditing.scores import SCORES
from dualselect.errors import ConfigError


BUDGETS = (0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""Token budgets of which each row is told whether they would keep it."""
RISKY_KIND = "risky"
TRAINED_SCORE = "published"
"""The score that a training with a token budget goes by; the others are for audits."""


@dataclass(frozen=True)
class AuditSettings:
    """What is asked of an audit.

    Attributes:
        score: The score that ranks the rows, one of `SCORES`.
        all_scores: Whether the scores that cost further forward passes of each row are computed too.
        controls: Whether, where there are known risky rows, the loss after a short fine-tuning on the safe pool is
            told too.
        sample: Number of rows drawn in place of all; None for all.
        risky_ids: Ids of rows that are known to be risky, beside those of kind `risky`.
    """

    score: str = TRAINED_SCORE
    all_scores: bool = False
    controls: bool = True
    sample: int | None = None
    risky_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ConfigError(f"score is {self.score!r}: write one of {', '.join(SCORES)}")
        if self.sample is not None and self.sample < 1:
            raise ConfigError(f"sample is {self.sample}: write how many rows to draw, 1 or more, or leave it out")

    @property
    def with_answers(self) -> bool:
        """Whether each row's prompt is also tried with safe answers of the pool."""
        return self.all_scores or SCORES[self.score].with_answers

    @property
    def with_tuning(self) -> bool:
        """Whether the rows' losses are also taken after short fine-tunings on the pool and on its contrasts."""
        return self.all_scores or SCORES[self.score].with_tuning

    def is_risky(self, row_id: str, kind: str) -> bool:
        """Whether a row is known to be risky."""
        return kind == RISKY_KIND or row_id in self.risky_ids

    def as_values(self) -> dict[str, Any]:
        """As JSON values; of the risky ids there is a hash."""
        ids = hashlib.sha256("\n".join(sorted(self.risky_ids)).encode()).hexdigest() if self.risky_ids else ""
        return asdict(self) | {"risky_ids": {"count": len(self.risky_ids), "sha256": ids}}
