"""Oracle: plain fine-tuning without the rows labeled risky, an upper bound for filters."""

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from datasets import Dataset

from dualselect.errors import DataError
from dualselect.methods.method import Method, Need


@dataclass(frozen=True)
class Oracle(Method):
    """Remove the rows labeled risky by their `kind`, then fine-tune plainly. Real data have no such labels.

    Attributes:
        risky_kind: The kind of the rows to remove.
    """

    paper: ClassVar[str] = "upper bound, not a method"
    needs: ClassVar[frozenset[Need]] = frozenset({"risk_labels"})
    name: str = "oracle"
    risky_kind: str = "risky"

    def rows(self, task: Dataset, pool: Dataset | None, seed: int) -> Dataset:
        """The task rows of every other kind.

        Raises:
            DataError: No row, or every row, is of the risky kind.
        """
        kinds = Counter(task["kind"])
        if not 0 < kinds[self.risky_kind] < len(task):
            counts = ", ".join(f"{count} of kind {kind or '(none)'}" for kind, count in kinds.items())
            raise DataError(
                f"{self.name} removes the task rows of kind {self.risky_kind!r}, but the rows are {counts}: label the "
                "risky rows with that kind, set risky_kind, or remove this method"
            )
        return task.select([index for index, kind in enumerate(task["kind"]) if kind != self.risky_kind])
