"""SafeInstr: safe responses mixed into the task rows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from datasets import Dataset

from dualselect.data.conversations import joined
from dualselect.errors import ConfigError
from dualselect.methods.method import Method, Need


@dataclass(frozen=True)
class SafeMix(Method):
    """Add the reference pool to the task rows and fine-tune plainly (Bianchi et al., ICLR 2024).

    Attributes:
        pool_rows: Number of randomly sampled pool rows; None adds all, as in SEAL's baseline.
    """

    paper: ClassVar[str] = "SafeInstr, Bianchi et al., ICLR 2024"
    needs: ClassVar[frozenset[Need]] = frozenset({"safe_pool"})
    name: str = "safe_mix"
    pool_rows: int | None = None

    def __post_init__(self) -> None:
        if self.pool_rows is not None and (type(self.pool_rows) is not int or self.pool_rows < 1):
            raise ConfigError(f"{self.name}: pool_rows is {self.pool_rows!r}; use 1 or more, or omit it for all")

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """Task rows, then pool rows; the trainer shuffles them."""
        assert pool is not None
        sampled = torch.randperm(len(pool), generator=torch.Generator().manual_seed(seed)).tolist()
        return joined([task, pool.select(sorted(sampled[: self.pool_rows]))])
