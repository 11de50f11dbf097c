"""Packed batches: examples one after the other in one row, each of them a segment.

A batch is packed if it has `position_ids`. Its tensors then have shape (1, N), and the positions begin at 0 in each
segment. A padded batch has an `attention_mask` of shape (B, T) and no `position_ids`.

Shapes: B examples, T tokens of a padded example, N tokens of all packed examples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from dualselect.data.tokens import IGNORED_LABEL


@dataclass(frozen=True)
class Segments:
    """The segments of a packed batch.

    Attributes:
        sizes: Tokens of each segment, B integers of 1 or more.
        device: Device of the batch.
    """

    sizes: tuple[int, ...]
    device: torch.device

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> "Segments | None":
        """The segments of a batch; None for a padded one. Waits for the device once."""
        positions = inputs.get("position_ids")
        if positions is None:
            return None
        starts = (positions[0] == 0).nonzero().flatten().tolist()
        ends = [*starts[1:], positions.shape[1]]
        return cls(tuple(end - start for start, end in zip(starts, ends, strict=True)), positions.device)

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def of_token(self) -> Tensor:
        """The segment of each token, shape (N,)."""
        sizes = torch.tensor(self.sizes)
        return torch.arange(len(sizes)).repeat_interleave(sizes).to(self.device)

    @cached_property
    def bounds(self) -> Tensor:
        """Where each segment begins and the last one ends, shape (B + 1,), int32."""
        sizes = torch.tensor([0, *self.sizes], dtype=torch.int32)
        return sizes.cumsum(0, dtype=torch.int32).to(self.device)


def example_count(inputs: Mapping[str, Any]) -> int:
    """Number of examples of a batch, padded or packed."""
    segments = Segments.of(inputs)
    return len(inputs["input_ids"]) if segments is None else len(segments)


def supervised_counts(inputs: Mapping[str, Any]) -> Tensor:
    """Supervised tokens of each example of a batch, shape (B,)."""
    supervised = inputs["labels"][:, 1:] != IGNORED_LABEL
    segments = Segments.of(inputs)
    if segments is None:
        return supervised.sum(1)
    return supervised.new_zeros(len(segments), dtype=torch.long).index_add_(
        0, segments.of_token[1:], supervised[0].long()
    )


def model_arguments(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """A batch as arguments of the model, without labels.

    Flash attention and linear attention need the bounds of the segments; other attentions find them in the positions,
    but only without a cache.
    """
    arguments = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
    segments = Segments.of(inputs)
    if segments is not None:
        longest = max(segments.sizes)
        arguments |= {
            "cu_seq_lens_q": segments.bounds,
            "cu_seq_lens_k": segments.bounds,
            "max_length_q": longest,
            "max_length_k": longest,
            "seq_idx": segments.of_token[None].int(),
        }
    return arguments


def examples_of(inputs: Mapping[str, Any], examples: Tensor) -> dict[str, Any]:
    """Some examples of a batch: without the padding that they no longer need, or cut out of a packed row.

    Args:
        inputs: Tensors of shape (B, T) with `attention_mask`, or of shape (1, N) with `position_ids`.
        examples: Indices, ascending, shape (E,), at least one.
    """
    size, segments = inputs["input_ids"].shape, Segments.of(inputs)
    if segments is not None:
        keep = torch.isin(segments.of_token, examples.to(segments.device))
        return {
            name: value[:, keep] if isinstance(value, Tensor) and value.shape == size else value
            for name, value in inputs.items()
        }
    columns = inputs["attention_mask"][examples].any(0).nonzero().flatten()
    span = slice(int(columns[0]), int(columns[-1]) + 1)
    return {
        name: value[examples, span] if isinstance(value, Tensor) and value.shape == size else value
        for name, value in inputs.items()
    }
