"""Rates corrected for the known errors of the judge (Rogan and Gladen 1978; intervals: Lang and Reiczigel 2014).

The correction assumes that the judge errs as often on these responses as on those that it was measured on.
"""

import math

from dualselect.evaluation.intervals import Z_95
from dualselect.judges.protocol import JudgeAccuracy


def corrected_rate(successes: int, count: int, accuracy: JudgeAccuracy) -> tuple[float, float, float] | None:
    """Correct an observed rate for the judge's sensitivity and specificity.

    With the observed rate q, p = (q + specificity - 1) / (sensitivity + specificity - 1). The interval is wider than
    that of q: it includes how well sensitivity and specificity are known.

    Args:
        successes: Positives according to the judge, 0 to `count`.
        count: Number of responses, 1 or more.
        accuracy: Measured accuracy of the judge.

    Returns:
        The corrected rate and the lower and upper end of its 95% interval, each in [0, 1]; None if sensitivity +
        specificity is at most 1, since then the rate is not identified.
    """
    (right_yes, of_yes), (right_no, of_no) = accuracy.sensitivity, accuracy.specificity
    if right_yes / of_yes + right_no / of_no <= 1:
        return None
    observed = successes / count
    value = (observed + right_no / of_no - 1) / (right_yes / of_yes + right_no / of_no - 1)
    z2 = Z_95**2
    n, n_yes, n_no = count + z2, of_yes + 2, of_no + 2
    q, sensitivity, specificity = (observed * count + z2 / 2) / n, (right_yes + 1) / n_yes, (right_no + 1) / n_no
    youden = sensitivity + specificity - 1
    p = (q + specificity - 1) / youden
    of_sensitivity = sensitivity * (1 - sensitivity) / n_yes
    of_specificity = specificity * (1 - specificity) / n_no
    shift = 2 * z2 * (p * of_sensitivity - (1 - p) * of_specificity)
    half = Z_95 * math.sqrt(q * (1 - q) / n + p**2 * of_sensitivity + (1 - p) ** 2 * of_specificity) / youden
    return _bounded(value), _bounded(p + shift - half), _bounded(p + shift + half)


def _bounded(value: float) -> float:
    return min(1.0, max(0.0, value))
