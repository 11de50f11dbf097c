"""Win rates against a baseline: how often a judge prefers the candidate's response to the same prompt.

A preference v is 1 where the candidate wins, 0 where the baseline does, 0.5 for a tie; the win rate is 100 * mean(v),
so the baseline itself has 50. Swapping candidate and baseline maps every number x to 100 - x, bit for bit. If all
preferences are equal, a bootstrap interval would have no width, so that Wilson's interval is used.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dualselect.evaluation.intervals import RESAMPLES, wilson
from dualselect.judges import Pair, Verdict


_GRID = 2.0**40
"""Win rates are multiples of 1 / _GRID, so that 100 - x is exact."""
_MAX_COEFFICIENT = 15.0
"""A larger coefficient counts as infinite: exp(-15) is 3e-7."""
_BATCH_COUNTS = 1_000_000
"""Counts per batch of bootstrap samples."""


@dataclass(frozen=True)
class WinRate:
    """A win rate with its 95% interval.

    Attributes:
        value: In [0, 100]; None if undefined, for the `reason`.
        low: Lower end.
        high: Upper end.
        count: Prompts with a preference.
        unscored: Prompts without a preference, which are excluded.
        reason: Why there is no value.
        interval: `bootstrap`, over prompts and runs, or `wilson`, if all preferences are equal.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    unscored: int
    reason: str = ""
    interval: str = "bootstrap"


def win_rate(preferences: Sequence[Verdict], *, resamples: int = RESAMPLES, seed: int = 0) -> WinRate:
    """100 * mean of the preferences.

    Args:
        preferences: One verdict per prompt, judged in both orders; see `dualselect.judges.BothOrders`.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.
    """
    return average_win_rate([preferences], resamples=resamples, seed=seed)


def average_win_rate(suites: Sequence[Sequence[Verdict]], *, resamples: int = RESAMPLES, seed: int = 0) -> WinRate:
    """Unweighted mean of the win rates of several suites; the Safety Avg of arXiv 2606.09866.

    Args:
        suites: Preferences of each suite; prompts are resampled within their suite.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.
    """
    margins = [_margins(preferences) for preferences in suites]
    count, unscored = sum(len(one) for one in margins), sum(len(one) for one in suites)
    unscored -= count
    if not margins or not all(len(one) for one in margins):
        return WinRate(None, None, None, count, unscored, "a suite has no scored preference")
    sign = _orientation(*margins)
    value = sum(float((sign * one).mean()) for one in margins) / len(margins)
    if all(_all_equal(one) for one in margins):
        margins_ = _with_wilson(value, effective_prompts([len(one) for one in margins]))
        return WinRate(*_rates(sign, margins_), count, unscored, interval="wilson")
    random = np.random.default_rng(seed)
    samples = np.zeros(resamples)
    for one in margins:
        drawn = _bootstrap_weights(random, range(len(one)), [""] * len(one), resamples)
        samples += np.concatenate([weights @ (sign * one) for weights in drawn]) / len(one)
    low, high = np.quantile(samples, [0.025, 0.975]) / len(margins)
    return WinRate(*_rates(sign, (value, low, high)), count, unscored)


def effective_prompts(counts: Sequence[int]) -> float:
    """Effective sample size of equally weighted suites: k^2 / sum(1 / count).

    Args:
        counts: Number of prompts of each of the k suites, 1 or more.
    """
    return len(counts) ** 2 / sum(1 / count for count in counts)


def length_controlled_win_rate(
    pairs: Sequence[Pair],
    preferences: Sequence[Verdict],
    *,
    runs: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> WinRate:
    """The win rate at equal length of both responses.

    v ~ sigmoid(a + b z), z = (length of first - length of second) / root mean square of these differences; the rate is
    100 * sigmoid(a). This follows length-controlled AlpacaEval (arXiv 2404.04475) without its terms for models and
    instructions. Swapping the responses maps a to -a and keeps b.

    Runs and prompts are crossed, as in `intervals.mean_over_seeds`: one fit uses the pairs of all runs, and bootstrap
    samples resample runs, and prompts jointly for all runs.

    Args:
        pairs: First the candidate's response, then the baseline's; pairs with the same `id` have the same prompt.
        preferences: Their verdicts, in the same order.
        runs: The run of each pair; None for a single run.
        resamples: Bootstrap samples.
        seed: Seed of the bootstrap.
    """
    triples = zip(pairs, preferences, runs or [""] * len(pairs), strict=True)
    scored = [(pair, verdict, run) for pair, verdict, run in triples if verdict.value is not None]
    unscored = len(pairs) - len(scored)
    if not scored:
        return WinRate(None, None, None, 0, unscored, "no preference could be scored")
    lengths = np.array([float(len(pair.first) - len(pair.second)) for pair, _, _ in scored])
    margins = _margins([verdict for _, verdict, _ in scored])
    sign = _orientation(margins, lengths)
    margins = sign * margins
    drawn = _bootstrap_weights(
        np.random.default_rng(seed), [pair.id for pair, _, _ in scored], [run for _, _, run in scored], resamples
    )
    if not lengths.any():  # nothing to control for
        value = float(margins.mean())
        samples = (weights @ margins / weights.sum(1) for weights in drawn)
    elif len(set(lengths)) == 1:
        reason = "all pairs have the same length difference, so that length and quality cannot be separated"
        return WinRate(None, None, None, len(scored), unscored, reason)
    else:
        z = sign * lengths / np.sqrt((lengths**2).mean())
        value = float(_fitted(margins, z, np.ones((1, len(z))))[0])
        if not np.isfinite(value):
            reason = "no finite fit: the length difference, or one side, explains every preference"
            return WinRate(None, None, None, len(scored), unscored, reason)
        samples = (_fitted(margins, z, weights, clip=True) for weights in drawn)
    if _all_equal(margins):
        margins_ = _with_wilson(value, len({pair.id for pair, _, _ in scored}))
        return WinRate(*_rates(sign, margins_), len(scored), unscored, interval="wilson")
    low, high = np.quantile(np.concatenate(list(samples)), [0.025, 0.975])
    return WinRate(*_rates(sign, (value, low, high)), len(scored), unscored)


def _margins(preferences: Sequence[Verdict]) -> np.ndarray:
    """2 v - 1 of the scored preferences, in [-1, 1]; swapping the sides only changes the sign."""
    return np.array([2.0 * verdict.value - 1.0 for verdict in preferences if verdict.value is not None])


def _orientation(*values: np.ndarray) -> float:
    """-1 if the first nonzero number is negative, else 1.

    Both orders of a comparison are computed with the same orientation, so that rounding is the same.
    """
    joined = np.concatenate(values)
    nonzero = joined[joined != 0]
    return -1.0 if len(nonzero) and nonzero[0] < 0 else 1.0


def _all_equal(margins: np.ndarray) -> bool:
    return len(set(margins)) == 1


def _with_wilson(margin: float, prompts: float) -> tuple[float, float, float]:
    """The margin 2 * share - 1 with Wilson's interval for a number of prompts."""
    low, high = (2 * end - 1 for end in wilson((1 + margin) / 2, prompts))
    return margin, low, high if margin else -low


def _rates(sign: float, margins: Sequence[float]) -> tuple[float, float, float]:
    """Value, low and high of a margin in [-1, 1] as win rates, in the original orientation."""
    value, low, high = (50.0 + round(50.0 * float(margin) * _GRID) / _GRID for margin in margins)
    return (value, low, high) if sign > 0 else (100.0 - value, 100.0 - high, 100.0 - low)


def _bootstrap_weights(
    random: np.random.Generator, prompts: Sequence[Hashable], runs: Sequence[str], resamples: int
) -> Iterator[np.ndarray]:
    """Counts of each pair in bootstrap samples, in batches of shape (samples, pairs).

    Runs and prompts are resampled separately; the count of a pair is the product of both. Samples without pairs are
    excluded.
    """
    (of_prompt, prompt_count), (of_run, run_count) = _numbered(prompts), _numbered(runs)
    batch = max(1, _BATCH_COUNTS // len(of_prompt))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        run_counts = random.multinomial(run_count, np.full(run_count, 1 / run_count), size)
        prompt_counts = random.multinomial(prompt_count, np.full(prompt_count, 1 / prompt_count), size)
        weights = (run_counts[:, of_run] * prompt_counts[:, of_prompt]).astype(np.float64)
        yield weights[weights.any(1)]


def _numbered(names: Sequence[Hashable]) -> tuple[list[int], int]:
    """Number names in order of first occurrence; returns the numbers and how many names there are."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return [numbers[name] for name in names], len(numbers)


def _fitted(margins: np.ndarray, z: np.ndarray, weights: np.ndarray, *, clip: bool = False) -> np.ndarray:
    """tanh(a / 2) = 2 sigmoid(a) - 1 of the logistic model of each row of weights, by Newton's method.

    Args:
        margins: 2 v - 1, [count].
        z: Standardized length differences, [count].
        weights: Weight of each prompt in each fit, [fits, count].
        clip: Clip infinite coefficients; else such fits are NaN.
    """
    coefficients = np.zeros((2, len(weights)))  # a, then b
    for _ in range(100):
        predicted = np.tanh((coefficients[0, :, None] + coefficients[1, :, None] * z) / 2)
        residual, curvature = weights * (margins - predicted), weights * (1 - predicted**2) / 2
        first, second = residual.sum(1), residual @ z
        aa, ab, bb = curvature.sum(1) + 1e-9, curvature @ z, curvature @ z**2 + 1e-9
        steps = np.array([bb * first - ab * second, aa * second - ab * first]) / (aa * bb - ab**2)
        # a full step can overshoot far from the solution
        steps *= np.minimum(1.0, 1.0 / np.maximum(abs(steps).max(0), 1e-300))
        before, coefficients = coefficients, np.clip(coefficients + steps, -_MAX_COEFFICIENT, _MAX_COEFFICIENT)
        if abs(coefficients - before).max() < 1e-12:
            break
    infinite = abs(coefficients).max(0) >= _MAX_COEFFICIENT
    return np.where(infinite & (not clip), np.nan, np.tanh(coefficients[0] / 2))
