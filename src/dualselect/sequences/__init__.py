"""Continual learning: one model learns a sequence of tasks and keeps what it has learned."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dualselect.sequences.config import SequenceConfig, read_sequence, sequence_config
from dualselect.sequences.metrics import SequenceMetrics, sequence_metrics
from dualselect.sequences.sequence import learn_sequence


__all__ = ["SequenceConfig", "SequenceMetrics", "continual", "learn_sequence", "read_sequence", "sequence_metrics"]


def continual(sequence: Mapping[str, Any] | str | Path, tell: Callable[[str], None] = print) -> Path:
    """Learn a sequence of tasks and write the results.

    Args:
        sequence: A config file, or its content as a mapping; see `dualselect.sequences.config`.
        tell: Called with a line at the start of each task.

    Returns:
        The results, `continual.json`; see `dualselect.sequences.results`.

    Raises:
        DualSelectError: Something cannot be used; the message says what to change.
    """
    config = sequence_config(sequence) if isinstance(sequence, Mapping) else read_sequence(sequence)
    return learn_sequence(config, tell)
