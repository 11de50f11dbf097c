"""Rows of similar length in one optimizer step, in an order that depends on the seed and the epoch only."""

from collections.abc import Callable, Iterator, Sequence

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class LengthGroups(LengthGroupedSampler):  # type: ignore[misc]
    """The sampler of `group_by_length`, with random numbers of its own.

    That of transformers takes them from the generator that dropout uses. So each process would have another order,
    and a resumed run another than the run that was stopped.

    Args:
        lengths: Tokens of each row.
        rows_per_step: Rows of an optimizer step, of all processes together.
        seed: Seed of the order.
        epoch: Number of the epoch that begins, from 0.
    """

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int, epoch: Callable[[], int]) -> None:
        super().__init__(rows_per_step, lengths=lengths)
        self._seed, self._epoch = seed, epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self._seed * 1_000_003 + self._epoch())
        return iter(super().__iter__())
