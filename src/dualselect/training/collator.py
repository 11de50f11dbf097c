"""A collator that keeps the row index of each example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dualselect.training.preparation import ROW


@dataclass
class RowIndexCollator:
    """A collator that also hands on the number of each row, shape (B,), where rows have one.

    Attributes:
        collate: The collator of the model's inputs.
    """

    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows; those of an evaluation set have no number."""
        indices: list[int] = [row[ROW] for row in rows if ROW in row]
        inputs = [{name: value for name, value in row.items() if name != ROW} for row in rows]
        batch: dict[str, Any] = dict(self.collate(inputs))
        if indices:
            batch[ROW] = torch.tensor(indices)
        return batch
