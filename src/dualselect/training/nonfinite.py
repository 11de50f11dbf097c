"""Rows whose loss or gradient is NaN or infinite: warn about a few, stop if there are too many."""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from dualselect.errors import GradientError


logger = logging.getLogger(__name__)

ALLOW_MORE = " To train without these rows, raise max_nonfinite_fraction."


def check_non_finite(
    values: Tensor, ids: Sequence[str], what: str, *, at_most: float = 0.0, of: int | None = None, before: int = 0
) -> list[int]:
    """Warn about rows whose value is NaN or infinite; stop if there are too many.

    Args:
        values: One value per row, shape (n,).
        ids: The n row ids.
        what: What the values are, for the message.
        at_most: Largest share of such rows, in [0, 1].
        of: Number of rows that the share refers to; n if None.
        before: Number of such rows found earlier in the run.

    Returns:
        Positions of the rows whose value is finite.

    Raises:
        GradientError: The share is larger than `at_most`, or no row is finite. The message names rows.
    """
    finite = torch.isfinite(values)
    bad = (~finite).nonzero().flatten().tolist()
    if bad:
        rows = ", ".join(ids[position] for position in bad[:5]) + (", ..." if len(bad) > 5 else "")
        seen = f"{what} is not finite for {len(bad)} of {len(ids)} rows (row ids: {rows})"
        if len(bad) == len(ids) or before + len(bad) > at_most * (of or len(ids)):
            raise GradientError(
                f"{seen}; nothing was updated. Check these rows. If they are correct, lower learning_rate or train in "
                f"float32, and resume from the last checkpoint.{ALLOW_MORE if at_most else ''}"
            )
        logger.warning("%s: they are left out", seen)
    return finite.nonzero().flatten().tolist()
