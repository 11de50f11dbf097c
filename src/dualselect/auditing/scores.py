"""Scores of task rows: pure functions of the numbers that one pass over them gives.

High means in conflict with the safe references, whatever the score. None needs a label of the data: those that are
calibrated are calibrated on the reference pool's own rows, its safe answers and the content-free compliances with the
same prompts, and on a few built-in harmless conversations.

Shapes: n rows, C safety categories.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dualselect.selection import task_scores


Numbers = Mapping[str, np.ndarray]
"""For each of `NUMBERS` a value of each row, shape (n,), and under `categories` the cosines, shape (n, C)."""

NUMBERS = {
    "loss": "response cross-entropy",
    "opening_loss": "the same over the first tokens of the response",
    "answer_loss": "the same over the first tokens of safe answers of the pool to the row's prompt",
    "control_loss": "response cross-entropy after a short fine-tuning on the pool's safe answers",
    "complied_loss": "the same after one on the contrasts of these",
    "cosine": "to the reference direction, as the settings say",
    "safe_cosine": "to the mean gradient of the selected safe responses",
    "contrast_cosine": "to the mean gradient of the selected safe responses minus that of their contrasts",
    "harmless_free_cosine": "to the safe direction with the mean direction of harmless conversation projected out",
    "nearest_safe": "highest cosine to a safe response of the kept references",
    "nearest_unsafe": "highest cosine to a contrast of the kept references",
}
# Where the pool has no two rows that differ in a number, it cannot say how much a difference means.
LEAST_DEVIATION = 1e-6
SHRINKAGE = 0.3
"""Weight of the diagonal in the covariance of `calibrated`: some hundred rows, a dozen numbers."""


@dataclass(frozen=True)
class Calibration:
    """Numbers of the pool's own rows, and the weights of the settings.

    Attributes:
        safe: Of safe answers.
        unsafe: Of the contrasts: the same prompts, complied with.
        harmless: Of harmless conversations; may be of no row.
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
        """The numbers of all rows that do no harm: safe answers, then harmless conversations."""
        return {name: np.concatenate([self.safe[name], self.harmless[name]]) for name in self.safe}


@dataclass(frozen=True)
class Score:
    """A way to score rows.

    Attributes:
        about: What it is, in one line.
        of: From the numbers of n rows and a calibration to their scores, shape (n,).
        with_answers: Whether it needs `answer_loss`, a further forward pass of each row for each answer.
        with_tuning: Whether it needs `control_loss` and `complied_loss`, two further forward passes of each row.
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
    """How much less the model expects the row's response to begin as it does than as a safe answer of the pool."""
    return rows["opening_loss"] - rows["answer_loss"]


def tuned(rows: Numbers, _: Calibration) -> np.ndarray:
    """How much less the model expects the row after learning the pool's safe answers than after their contrasts.

    To first order in the learning rate it is the inner product of the row's gradient with what the two fine-tunings
    changed, so a conflict like -cosine to the contrast direction, but as the optimizer scales it.
    """
    return rows["control_loss"] - rows["complied_loss"]


def standardized_tuned(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss and `tuned`, each in deviations of the compatible rows."""
    return _sum_of_deviations(rows, calibration, lambda some: [some["loss"], tuned(some, calibration)])


def standardized(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss, -cosine to the contrast direction and `opening`, each in deviations of the compatible rows."""
    return _sum_of_deviations(
        rows, calibration, lambda some: [some["loss"], -some["contrast_cosine"], opening(some, calibration)]
    )


def standardized_gradients(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Sum of loss, -cosine to the safe and -cosine to the contrast direction, each in deviations."""
    return _sum_of_deviations(
        rows, calibration, lambda some: [some["loss"], -some["safe_cosine"], -some["contrast_cosine"]]
    )


def calibrated(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """Linear discriminant between the pool's contrasts and its safe answers with the harmless conversations."""
    return _discriminant(_cosines(rows), _cosines(calibration.unsafe), _cosines(calibration.compatible))


def calibrated_pool(rows: Numbers, calibration: Calibration) -> np.ndarray:
    """The same between the contrasts and the safe answers alone."""
    return _discriminant(_cosines(rows), _cosines(calibration.unsafe), _cosines(calibration.safe))


def _discriminant(rows: np.ndarray, unsafe: np.ndarray, compatible: np.ndarray) -> np.ndarray:
    """Fisher's linear discriminant (1936), shrunk: w = ((1 - a) S + a diag S)^-1 (m_unsafe - m_compatible).

    S is the mean of the covariances within the two, and 0 is halfway between their means.
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


def _sum_of_deviations(
    rows: Numbers, calibration: Calibration, parts: Callable[[Numbers], list[np.ndarray]]
) -> np.ndarray:
    total = np.zeros(len(rows["loss"]))
    for values, known in zip(parts(rows), parts(calibration.compatible), strict=True):
        total += (values - known.mean()) / max(float(known.std()), LEAST_DEVIATION)
    return total


SCORES: dict[str, Score] = {
    "published": Score("loss minus cosine to the reference direction (the paper's task score)", published),
    "loss": Score("loss alone", lambda rows, _: rows["loss"]),
    "cosine": Score("minus the cosine to the reference direction", lambda rows, _: -rows["cosine"]),
    "safe": Score("minus the cosine to the selected safe responses", lambda rows, _: -rows["safe_cosine"]),
    "contrast": Score(
        "minus the cosine to the selected safe responses less their contrasts",
        lambda rows, _: -rows["contrast_cosine"],
    ),
    "harmless_free": Score(
        "minus the cosine to the safe direction with harmless conversation projected out",
        lambda rows, _: -rows["harmless_free_cosine"],
    ),
    "nearest": Score("highest cosine to a compliance minus highest cosine to a safe response", nearest),
    "categories": Score("worst conflict with a safety category's own direction", worst_category),
    "opening": Score(
        "loss of the response's opening minus that of the pool's safe answers", opening, with_answers=True
    ),
    "tuned": Score(
        "loss after learning the pool's safe answers minus loss after their contrasts", tuned, with_tuning=True
    ),
    "standardized_tuned": Score(
        "loss and tuned, in deviations of the pool's own rows", standardized_tuned, with_tuning=True
    ),
    "standardized_gradients": Score(
        "loss, safe and contrast cosine, in deviations of the pool's own rows", standardized_gradients
    ),
    "standardized": Score(
        "loss, contrast cosine and opening, in deviations of the pool's own rows", standardized, with_answers=True
    ),
    "calibrated": Score("linear discriminant on all cosines, contrasts against safe and harmless rows", calibrated),
    "calibrated_pool": Score("linear discriminant on all cosines, contrasts against safe rows alone", calibrated_pool),
}
