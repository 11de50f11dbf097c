"""Settings of an audit, apart from the settings of the planned training run."""

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from dualselect.auditing.scores import SCORES
from dualselect.errors import ConfigError


BUDGETS = (0.99, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5)
"""Token budgets that are evaluated for every row."""
RISKY_KIND = "risky"
TRAINED_SCORE = "published"
"""The score that a training run uses for its token budget; the others are for audits only."""


@dataclass(frozen=True)
class AuditSettings:
    """Settings of an audit.

    Attributes:
        score: The ranking score, one of `SCORES`.
        all_scores: Also compute the scores that need extra forward passes per row.
        controls: If some rows are labeled risky, also compute the loss after short fine-tuning on the safe pool.
        sample: Number of rows to sample; None for all rows.
        risky_ids: Ids of rows labeled risky, in addition to rows of kind `risky`.
    """

    score: str = TRAINED_SCORE
    all_scores: bool = False
    controls: bool = True
    sample: int | None = None
    risky_ids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise ConfigError(f"score is {self.score!r}: use one of {', '.join(SCORES)}")
        if self.sample is not None and self.sample < 1:
            raise ConfigError(f"sample is {self.sample}: use a number of rows, 1 or more, or omit it")

    @property
    def with_answers(self) -> bool:
        """Whether `answer_loss` is needed."""
        return self.all_scores or SCORES[self.score].with_answers

    @property
    def with_tuning(self) -> bool:
        """Whether `control_loss` and `complied_loss` are needed."""
        return self.all_scores or SCORES[self.score].with_tuning

    def is_risky(self, row_id: str, kind: str) -> bool:
        """Whether a row is labeled risky."""
        return kind == RISKY_KIND or row_id in self.risky_ids

    def as_values(self) -> dict[str, Any]:
        """As JSON values, with a hash of the risky ids."""
        ids = hashlib.sha256("\n".join(sorted(self.risky_ids)).encode()).hexdigest() if self.risky_ids else ""
        return asdict(self) | {"risky_ids": {"count": len(self.risky_ids), "sha256": ids}}
