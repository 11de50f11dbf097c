"""A collator that keeps the row index of each example."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from dualselect.training.preparation import ROW


@dataclass
class RowIndexCollator:
    """A collator that also returns the number of each example, shape (B,), if the rows have them.

    A packed row has a list of numbers, one of each example in it.

    Attributes:
        collate: The collator for the model's inputs.
    """

    collate: Callable[[list[dict[str, Any]]], Mapping[str, Any]]

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Collate rows. Rows of an evaluation set have no number."""
        indices: list[int] = []
        for row in rows:
            number = row.get(ROW, [])
            indices += number if isinstance(number, list) else [number]
        inputs = [{name: value for name, value in row.items() if name != ROW} for row in rows]
        batch: dict[str, Any] = dict(self.collate(inputs))
        if indices:
            batch[ROW] = torch.tensor(indices)
        return batch


def padding(collate: Any) -> Any:
    """A collator that pads, also if `padding_free` or `packing` is set: for references and their contrasts."""
    return replace(collate, padding_free=False) if isinstance(collate, DataCollatorForLanguageModeling) else collate
