"""Packing: concatenate whole task rows into loader rows of up to `max_length` tokens, without truncation.

A packed row has the columns `input_ids`, `labels`, `seq_lengths` (tokens of each row in it) and `ROW` (their numbers).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from trl import pack_dataset

from dualselect.data.token_columns import lengths_of
from dualselect.errors import ConfigError
from dualselect.models.losses import response_cross_entropy
from dualselect.models.segments import Segments
from dualselect.training.config import DualSelectConfig
from dualselect.training.preparation import ROW
from dualselect.training.references import without_dropout


def packed(rows: Dataset, length: int | None) -> Dataset:
    """Pack rows by best fit decreasing (TRL), within each 1,000 rows of the data.

    Args:
        rows: `input_ids`, `labels` and maybe `ROW`; no row longer than `length`.
        length: Most tokens of a packed row (`max_length`).
    """
    assert length is not None  # settings without it are refused
    rows = rows.select_columns([name for name in ("input_ids", "labels", ROW) if name in rows.column_names])
    if ROW not in rows.column_names:
        return pack_dataset(rows, length, "bfd", {"desc": "Packing rows"})
    # TRL packs lists with one entry per token
    rows = rows.map(_number_per_token, batched=True, remove_columns=ROW, desc="Numbering rows")
    rows = pack_dataset(rows, length, "bfd", {"desc": "Packing rows"})
    return rows.map(_number_per_row, batched=True, remove_columns=NUMBERS, desc="Numbering packed rows")


def loader_rows(rows: Dataset, config: DualSelectConfig) -> Dataset:
    """The rows of the training loader: packed ones with `packing: true`, otherwise the rows themselves."""
    return packed(rows, config.max_length) if config.packing else rows


class LoaderRows:
    """Row counts of the training loader, with and without packing.

    Args:
        loader: The rows of the loader, with `ROW`.
        config: Settings.

    Attributes:
        packed: Numbers of the rows of the data in each row of the loader; None without packing.
    """

    def __init__(self, loader: Dataset, config: DualSelectConfig) -> None:
        self._count, self._config = len(loader), config
        self.packed: list[list[int]] | None = list(loader[ROW]) if config.packing else None

    @property
    def most_in_one(self) -> int:
        """Most rows of the data in one row of the loader."""
        return max(map(len, self.packed)) if self.packed else 1

    @property
    def rows_per_step(self) -> float:
        """Rows of the data in an optimizer step, on average."""
        in_step = self._in_micro_batch * self._config.gradient_accumulation_steps
        rows = sum(map(len, self.packed)) if self.packed else self._count
        return min(rows, in_step * rows / self._count)

    def repeated(self, *, end: bool) -> int:
        """Rows of the loader that accelerate repeats to give each process as many.

        Args:
            end: Whether the step is the last one of an epoch; other steps repeat none.
        """
        if not end or self._config.world_size == 1 or self._config.dataloader_drop_last:
            return 0
        # accelerate's `remainder` is wrong for a loader that skips batches after a resume
        return -self._count % self._in_micro_batch

    @property
    def _in_micro_batch(self) -> int:
        return int(self._config.train_batch_size * self._config.world_size)


def loader_lengths(rows: Dataset, config: DualSelectConfig) -> np.ndarray:
    """Tokens of each row of the training loader."""
    return lengths_of(loader_rows(rows, config))


def is_padded(config: DualSelectConfig) -> bool:
    """Whether training batches are padded."""
    return not (config.packing or config.padding_free)


def batch_tokens(lengths: Sequence[int] | np.ndarray, size: int, *, padded: bool) -> list[int]:
    """Tokens of each batch of rows in their order, with padding if they are padded.

    Args:
        lengths: Tokens of each row.
        size: Rows in a batch.
        padded: Whether each row is padded to the longest of its batch.
    """
    parts = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    return [len(part) * int(max(part)) if padded else int(sum(part)) for part in parts]


def check_rows_apart(model: nn.Module, batch: Mapping[str, Any]) -> None:
    """Refuse a model for which the loss of a packed row depends on the row before it.

    Args:
        model: The model; it is left as it was.
        batch: Two packed rows, as the collator makes them, on the model's device.

    Raises:
        ConfigError: The attention of the model does not keep packed rows apart.
    """
    segments = Segments.of(batch)
    assert segments is not None
    before = slice(0, segments.sizes[0])
    other = dict(batch, input_ids=batch["input_ids"].clone())
    other["input_ids"][:, before] = batch["input_ids"][:, before].roll(1) + 1
    other["input_ids"] %= int(model.get_input_embeddings().num_embeddings)  # type: ignore[operator]
    with torch.no_grad(), without_dropout(model):
        loss, changed = (response_cross_entropy(model, one)[-1].item() for one in (batch, other))
    if abs(loss - changed) > TOLERANCE * max(1.0, abs(loss)):
        raise ConfigError(
            f"the attention of this model does not keep packed rows apart: the loss of a row is {loss:.6g}, and "
            f"{changed:.6g} after another row is changed. Write packing: false and padding_free: false, or set "
            "another attn_implementation."
        )


TOLERANCE = 1e-5
"""Largest relative difference of a loss; masked positions contribute exactly 0."""
NUMBERS = "row_of_each_token"


def _number_per_token(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {NUMBERS: [[number] * len(ids) for number, ids in zip(rows[ROW], rows["input_ids"], strict=True)]}


def _number_per_row(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    starts = [np.cumsum([0, *lengths[:-1]]) for lengths in rows["seq_lengths"]]
    return {ROW: [[numbers[at] for at in places] for numbers, places in zip(rows[NUMBERS], starts, strict=True)]}
