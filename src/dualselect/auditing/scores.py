"""Scores of task rows: pure functions of the per-row statistics.

A high score means conflict with the safe references. No score uses labels of the data. Calibrated scores are
calibrated on the reference pool (its safe answers, and content-free compliances with the same prompts) and on a few
harmless conversations.

Shapes: n rows, C safety categories.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dualselect.selection import task_scores


Numbers = Mapping[str, np.ndarray]
"""Statistics of n rows: one array of shape (n,) per name in `NUMBERS`, and `categories`, cosines of shape (n, C)."""

NUMBERS = {
    "loss": "response cross-entropy",
    "opening_loss": "response cross-entropy over the first tokens of the response",
    "answer_loss": "cross-entropy over the first tokens of safe answers from the pool, given the row's prompt",
    "control_loss": "response cross-entropy after short fine-tuning on the pool's safe answers",
    "complied_loss": "response cross-entropy after short fine-tuning on the contrasts",
    "cosine": "cosine to the reference direction under the settings",
    "probe": "linear probe on the hidden states of the response: positive is closer to the contrasts",
    "safe_cosine": "cosine to the mean gradient of the selected safe responses",
    "contrast_cosine": "cosine to the mean gradient of the selected safe responses minus the contrasts' mean gradient",
    "harmless_free_cosine": "cosine to the safe direction with the harmless direction projected out",
    "nearest_safe": "highest cosine to a safe response of the stored references",
    "nearest_unsafe": "highest cosine to a contrast of the stored references",
}
# a statistic that is constant over the calibration rows has no scale
LEAST_DEVIATION = 1e-6
SHRINKAGE = 0.3
"""Shrinkage of the covariance of `calibrated` towards its diagonal: about a hundred rows, a dozen statistics."""


@dataclass(frozen=True)
class Calibration:
    """Statistics of the calibration rows, and the weights of the task score.

    Attributes:
        safe: Statistics of safe answers.
        unsafe: Statistics of the contrasts to the same prompts.
        harmless: Statistics of harmless conversations; may be empty.
        loss_weight: mu_t of the task score.
        conflict_weight: nu of the task score.
    """

    safe: Numbers
    unsafe: Numbers
    harmless: Numbers
    loss_weight: float = 1.0
    conflict_weight: float = 1.0

    @property
    def compatible(self) -> dict[str, np.ndarray]:
        """Statistics of the compatible rows: safe answers, then harmless conversations."""
        return {name: np.concatenate([self.safe[name], self.harmless[name]]) for name in self.safe}


@dataclass(frozen=True)
class Score:
    """A score of task rows.

    Attributes:
        about: Description in one line.
        of: Computes the scores of n rows, shape (n,), from their statistics and a calibration.
        with_answers: Needs `answer_loss`: one extra forward pass per row and answer.
        with_tuning: Needs `control_loss` and `complied_loss`: two extra forward passes per row.
    """

    about: str
    of: Callable[[Numbers, Calibration], np.ndarray] = field(repr=False)
    with_answers: bool = False
    with_tuning: bool = False


def published(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """The task score of arXiv 2606.09866: mu_t * loss - nu * cos(g, g_ref)."""
    losses, cosines = torch.from_numpy(rows["loss"]), torch.from_numpy(rows["cosine"])
    weights = {"loss_weight": calibration.loss_weight, "conflict_weight": calibration.conflict_weight}
    found: np.ndarray = task_scores(losses, cosines, **weights).numpy()
    return found


def nearest(rows: Numbers, _: Calibration) -> np.ndarray:
    """max_j cos(g, g_unsafe_j) - max_j cos(g, g_safe_j)."""
    return rows["nearest_unsafe"] - rows["nearest_safe"]


def worst_category(rows: Numbers, _: Calibration) -> np.ndarray:
    """max_c -cos(g, g_c) over the safety categories' own directions."""
    return -rows["categories"].min(1)


def opening(rows: Numbers, _: Calibration) -> np.ndarray:
    """Loss of the opening of the response minus the loss of safe answers from the pool."""
    return rows["opening_loss"] - rows["answer_loss"]


def tuned(rows: Numbers, _: Calibration) -> np.ndarray:
    """Loss after fine-tuning on the pool's safe answers minus loss after fine-tuning on their contrasts.

    To first order in the learning rate this is the inner product of the row's gradient and the difference of the two
    fine-tuned adapters: a conflict with the contrast direction, in the scaling of the optimizer.
    """
    return rows["control_loss"] - rows["complied_loss"]


def standardized_tuned(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss and `tuned`, each standardized on the compatible rows."""
    return _standardized_sum(rows, calibration, lambda it: [it["loss"], tuned(it, calibration)])


def standardized(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss, -cosine to the contrast direction and `opening`, each standardized on the compatible rows."""
    return _standardized_sum(
        rows, calibration, lambda it: [it["loss"], -it["contrast_cosine"], opening(it, calibration)]
    )


def standardized_gradients(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss, -cosine to the safe and -cosine to the contrast direction, each standardized in the same way."""
    return _standardized_sum(rows, calibration, lambda it: [it["loss"], -it["safe_cosine"], -it["contrast_cosine"]])


def calibrated(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Linear discriminant of the contrasts against safe answers and harmless conversations."""
    return _discriminant(_cosines(rows), _cosines(calibration.unsafe), _cosines(calibration.compatible))


def calibrated_pool(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Linear discriminant of the contrasts against safe answers only."""
    return _discriminant(_cosines(rows), _cosines(calibration.unsafe), _cosines(calibration.safe))


def _discriminant(rows: np.ndarray, unsafe: np.ndarray, compatible: np.ndarray) -> np.ndarray:
    """Fisher's linear discriminant (1936) with shrinkage: w = ((1 - a) S + a diag S)^-1 (m_unsafe - m_compatible).

    S is the mean within-class covariance; the discriminant is 0 at the midpoint of the class means.
    """
    within = np.atleast_2d((_covariance(unsafe) + _covariance(compatible)) / 2)
    ridge = np.maximum(np.diag(within), LEAST_DEVIATION**2)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.diag(ridge)
    weights = np.linalg.solve(shrunk, unsafe.mean(0) - compatible.mean(0))
    found: np.ndarray = (rows - (unsafe.mean(0) + compatible.mean(0)) / 2) @ weights
    return found


def _cosines(rows: Numbers) -> np.ndarray:
    names = ("safe_cosine", "contrast_cosine", "harmless_free_cosine", "nearest_safe", "nearest_unsafe")
    return np.column_stack([*(rows[name] for name in names), rows["categories"]])


def _covariance(values: np.ndarray) -> np.ndarray:
    centered = values - values.mean(0)
    found: np.ndarray = centered.T @ centered / max(1, len(values) - 1)
    return found


def _standardized_sum(
    rows: Numbers, calibration: Calibration, parts: Callable[[Numbers], list[np.ndarray]]
) -> np.ndarray:
    total = np.zeros(len(rows["loss"]))
    for values, baseline in zip(parts(rows), parts(calibration.compatible), strict=True):
        total += (values - baseline.mean()) / max(float(baseline.std()), LEAST_DEVIATION)
    return total


SCORES: dict[str, Score] = {
    "published": Score("loss minus cosine to the reference direction (the paper's task score)", published),
    "loss": Score("only the loss", lambda rows, _: rows["loss"]),
    "cosine": Score("minus the cosine to the reference direction", lambda rows, _: -rows["cosine"]),
    "safe": Score("minus the cosine to the selected safe responses", lambda rows, _: -rows["safe_cosine"]),
    "contrast": Score(
        "minus the cosine to the contrast direction (selected safe responses minus their contrasts)",
        lambda rows, _: -rows["contrast_cosine"],
    ),
    "harmless_free": Score(
        "minus the cosine to the safe direction with the harmless direction projected out",
        lambda rows, _: -rows["harmless_free_cosine"],
    ),
    "probe": Score("linear probe on the response's hidden states", lambda rows, _: rows["probe"]),
    "nearest": Score("highest cosine to a compliance minus highest cosine to a safe response", nearest),
    "categories": Score("highest conflict with the direction of any safety category", worst_category),
    "opening": Score(
        "loss of the response's opening minus the loss of the pool's safe answers", opening, with_answers=True
    ),
    "tuned": Score(
        "loss after fine-tuning on safe answers minus loss after fine-tuning on their contrasts",
        tuned,
        with_tuning=True,
    ),
    "standardized_tuned": Score(
        "loss plus tuned, each standardized on calibration rows", standardized_tuned, with_tuning=True
    ),
    "standardized_gradients": Score(
        "loss minus safe and contrast cosine, each standardized on calibration rows", standardized_gradients
    ),
    "standardized": Score(
        "loss minus contrast cosine plus opening, each standardized on calibration rows",
        standardized,
        with_answers=True,
    ),
    "calibrated": Score("linear discriminant on all cosines: contrasts against safe and harmless rows", calibrated),
    "calibrated_pool": Score("linear discriminant on all cosines: contrasts against safe rows only", calibrated_pool),
}
