"""TRL's token metrics, counted on the device and read once per log."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from dualselect.system.processes import total_of


class TokenCounts:
    """Sums over the task batches since the last log.

    Args:
        sums: Earlier sums (the result of `sums`) to continue from; None to start at 0.
    """

    def __init__(self, sums: Mapping[str, float] | None = None) -> None:
        self._sums: dict[str, Any] = defaultdict(int, sums or {})

    @property
    def any(self) -> bool:
        """Whether a batch was added since the last `take`."""
        return bool(self._sums)

    def sums(self) -> dict[str, float]:
        """The sums over all processes as plain numbers."""
        names = sorted(self._sums)
        totals = total_of(torch.tensor([float(self._sums[name]) for name in names], dtype=torch.float64))
        return dict(zip(names, totals.tolist(), strict=True))

    def add(self, outputs: Any, inputs: Mapping[str, Any]) -> None:
        """Add a batch.

        Args:
            outputs: Outputs of TRL's fused head.
            inputs: The batch that the outputs belong to.
        """
        self._sums["supervised"] += outputs.label_mask.sum()
        self._sums["entropy"] += outputs.entropy.detach().nansum()
        self._sums["correct"] += outputs.is_top1.sum()
        mask = inputs.get("attention_mask")  # packed rows have none
        self._sums["tokens"] += inputs["input_ids"].numel() if mask is None else mask.sum()

    def take(self, tokens_before: int) -> tuple[int, dict[str, float]]:
        """The total number of tokens seen and TRL's metrics of these batches; then reset the sums.

        Args:
            tokens_before: Tokens seen up to the last call.
        """
        sums = self.sums()
        self._sums.clear()
        total = tokens_before + int(sums["tokens"])
        supervised = max(sums["supervised"], 1.0)
        return total, {
            "entropy": sums["entropy"] / supervised,
            "mean_token_accuracy": sums["correct"] / supervised,
            "num_tokens": total,
        }
