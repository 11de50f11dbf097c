"""What a sequence of tasks kept and what it forgot: metrics of the matrix of scores.

R[t][i] is the score on task i after training on task t, both counted from 0, for T tasks. Definitions follow
Lopez-Paz & Ranzato (NeurIPS 2017) and Chaudhry et al. (ECCV 2018); forward transfer is against measured runs on one
task alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass


Matrix = Sequence[Sequence[float]]
"""R, shape (T, T)."""


@dataclass(frozen=True)
class SequenceMetrics:
    """Metrics of one sequence, in the unit of its scores.

    Attributes:
        average: AP, the mean score on all tasks after the last one.
        backward_transfer: BWT, the mean change of the score on a task since it was learned; negative is forgetting.
            None for one task.
        forgetting: The mean drop from the best score that a task ever had before the last task; None for one task.
        forward_transfer: FWT, the mean gain on a task, when it is learned, over training on it alone; None without
            single-task runs or for one task.
    """

    average: float
    backward_transfer: float | None
    forgetting: float | None
    forward_transfer: float | None


def sequence_metrics(matrix: Matrix, alone: Sequence[float] | None = None) -> SequenceMetrics:
    """The metrics of a matrix of scores.

    Args:
        matrix: R, shape (T, T), T at least 1.
        alone: S, the score on each task of a model that was trained on this task alone, shape (T,).

    Raises:
        ValueError: The matrix is not square, or `alone` has another length.
    """
    count = len(matrix)
    if not count or any(len(row) != count for row in matrix):
        raise ValueError(f"a matrix of {count} rows needs {count} columns, got {[len(row) for row in matrix]}")
    if alone is not None and len(alone) != count:
        raise ValueError(f"{count} tasks need {count} single-task scores, got {len(alone)}")
    last = matrix[-1]
    before = range(count - 1)
    return SequenceMetrics(
        average=_mean(last),
        backward_transfer=_mean([last[task] - matrix[task][task] for task in before]) if before else None,
        forgetting=_mean([max(matrix[time][task] for time in before) - last[task] for task in before])
        if before
        else None,
        forward_transfer=_mean([matrix[task][task] - alone[task] for task in range(1, count)])
        if alone is not None and count > 1
        else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
