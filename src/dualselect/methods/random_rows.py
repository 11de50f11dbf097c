"""Random selection, the baseline for filters that drop as much."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from datasets import Dataset

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.methods.method import Method, check_range
from dualselect.selection import choose_by_tokens


@dataclass(frozen=True)
class RandomRows(Method):
    """Drop task rows at random before training, until a share of the supervised tokens is left.

    The random baseline of SEAL (ICLR 2025) keeps 80% of the rows; here the share is in tokens, with the default of
    DualSelect's budget.

    Attributes:
        token_share: Kept share of the supervised tokens, in (0, 1]; the row that crosses it is kept.
    """

    paper: ClassVar[str] = "random selection (baseline of SEAL, ICLR 2025, and arXiv 2606.09866)"
    name: str = "random"
    token_share: float = 0.9

    def __post_init__(self) -> None:
        check_range(self, "token_share", low=0, high=1, above=True)

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """A random subset of the task rows, in their order."""
        tokens = torch.tensor([sum(label != IGNORED_LABEL for label in labels) for labels in task["labels"]])
        ranks = torch.rand(len(task), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return task.select(choose_by_tokens(ranks, tokens, self.token_share).kept)
