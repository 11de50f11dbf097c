"""Win rates against a baseline: how often a judge prefers the candidate's response to the same prompt.

A preference v is 1 where the candidate wins, 0 where the baseline does, 0.5 for a tie; the win rate is 100 * mean(v),
so the baseline itself has 50. Swapping candidate and baseline turns every number x into 100 - x, to the last bit.
A bootstrap of preferences that are all alike would claim to be certain: these have Wilson's interval.
"""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dualselect.evaluation.intervals import RESAMPLES, wilson
from dualselect.judges import Pair, Verdict


_GRID = 2.0**40
"""Win rates are multiples of 1 / _GRID, so that 100 - x is exact."""
_LARGEST = 15.0
"""A coefficient beyond this is on its way to infinity: exp(-15) is 3e-7."""
_DRAWN = 1_000_000
"""Numbers drawn at once."""


@dataclass(frozen=True)
class WinRate:
    """A win rate with its 95% interval.

    Attributes:
        value: In [0, 100]; None when it cannot be told, for the `reason`.
        low: Lower end.
        high: Upper end.
        count: Prompts with a preference.
        unscored: Prompts without one; they are in no value.
        reason: Why there is no value.
        interval: `bootstrap`, by percentiles over prompts and, where there are several, runs; or `wilson`, where all
            preferences are alike.
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
        preferences: One verdict per prompt, asked in both orders; see `dualselect.judges.BothOrders`.
        resamples: Bootstrap samples; each keeps what was said of a prompt together.
        seed: Of the samples.
    """
    return average_win_rate([preferences], resamples=resamples, seed=seed)


def average_win_rate(suites: Sequence[Sequence[Verdict]], *, resamples: int = RESAMPLES, seed: int = 0) -> WinRate:
    """The mean of the win rates of several suites, each with the same weight; the Safety Avg of arXiv 2606.09866.

    Args:
        suites: Preferences of each suite; prompts are drawn within their suite.
        resamples: Bootstrap samples.
        seed: Of the samples.
    """
    margins = [_margins(preferences) for preferences in suites]
    count, unscored = sum(len(one) for one in margins), sum(len(one) for one in suites)
    unscored -= count
    if not margins or not all(len(one) for one in margins):
        return WinRate(None, None, None, count, unscored, "no preference of a suite could be scored")
    sign = _orientation(*margins)
    value = sum(float((sign * one).mean()) for one in margins) / len(margins)
    if all(_alike(one) for one in margins):
        found = _with_wilson(value, prompts_behind([len(one) for one in margins]))
        return WinRate(*_rates(sign, found), count, unscored, interval="wilson")
    random = np.random.default_rng(seed)
    samples = np.zeros(resamples)
    for one in margins:
        drawn = _draws(random, range(len(one)), [""] * len(one), resamples)
        samples += np.concatenate([weights @ (sign * one) for weights in drawn]) / len(one)
    low, high = np.quantile(samples, [0.025, 0.975]) / len(margins)
    return WinRate(*_rates(sign, (value, low, high)), count, unscored)


def prompts_behind(counts: Sequence[int]) -> float:
    """How many prompts say as much as several suites of which each has the same weight: k^2 / sum(1 / count).

    Args:
        counts: Prompts of each of the k suites, 1 or more.
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
    """The win rate that the judge would give if both responses were always as long as each other.

    v ~ sigmoid(a + b z), z = (length of first - length of second) / root mean square of these differences; the rate is
    100 * sigmoid(a). It is in the spirit of length-controlled AlpacaEval (arXiv 2404.04475) without its terms for
    models and instructions. Swapping the responses turns a into -a and leaves b.

    Runs and prompts are crossed, as in `intervals.mean_over_seeds`: one fit takes the pairs of all runs, and each
    bootstrap sample draws runs and, for all of them, prompts.

    Args:
        pairs: First the candidate's response, then the baseline's; pairs of the same `id` are of the same prompt.
        preferences: Their verdicts, in the same order.
        runs: The run that each pair is of; None is one run.
        resamples: Bootstrap samples.
        seed: Of the samples.
    """
    everything = zip(pairs, preferences, runs or [""] * len(pairs), strict=True)
    scored = [(pair, verdict, run) for pair, verdict, run in everything if verdict.value is not None]
    unscored = len(pairs) - len(scored)
    if not scored:
        return WinRate(None, None, None, 0, unscored, "no preference could be scored")
    lengths = np.array([float(len(pair.first) - len(pair.second)) for pair, _, _ in scored])
    margins = _margins([verdict for _, verdict, _ in scored])
    sign = _orientation(margins, lengths)
    margins = sign * margins
    drawn = _draws(
        np.random.default_rng(seed), [pair.id for pair, _, _ in scored], [run for _, _, run in scored], resamples
    )
    if not lengths.any():  # nothing to control for
        value = float(margins.mean())
        samples = (weights @ margins / weights.sum(1) for weights in drawn)
    elif len(set(lengths)) == 1:
        reason = "every pair differs by the same length, so that nothing tells length from quality"
        return WinRate(None, None, None, len(scored), unscored, reason)
    else:
        z = sign * lengths / np.sqrt((lengths**2).mean())
        value = float(_fitted(margins, z, np.ones((1, len(z))))[0])
        if not np.isfinite(value):
            reason = "no finite fit: the difference in length, or one side winning, explains every preference"
            return WinRate(None, None, None, len(scored), unscored, reason)
        samples = (_fitted(margins, z, weights, clip=True) for weights in drawn)
    if _alike(margins):
        found = _with_wilson(value, len({pair.id for pair, _, _ in scored}))
        return WinRate(*_rates(sign, found), len(scored), unscored, interval="wilson")
    low, high = np.quantile(np.concatenate(list(samples)), [0.025, 0.975])
    return WinRate(*_rates(sign, (value, low, high)), len(scored), unscored)


def _margins(preferences: Sequence[Verdict]) -> np.ndarray:
    """2 v - 1 of the scored preferences, in [-1, 1]: swapping the sides changes the sign and nothing else."""
    return np.array([2.0 * verdict.value - 1.0 for verdict in preferences if verdict.value is not None])


def _orientation(*values: np.ndarray) -> float:
    """-1 when the first number that is not 0 is negative, else 1.

    Both orders of a comparison are turned to the same side, computed there, and turned back, so that no rounding can
    tell them apart.
    """
    joined = np.concatenate(values)
    nonzero = joined[joined != 0]
    return -1.0 if len(nonzero) and nonzero[0] < 0 else 1.0


def _alike(margins: np.ndarray) -> bool:
    return len(set(margins)) == 1


def _with_wilson(margin: float, prompts: float) -> tuple[float, float, float]:
    """The margin 2 * share - 1 of a share of so many prompts, with Wilson's interval."""
    low, high = (2 * end - 1 for end in wilson((1 + margin) / 2, prompts))
    return margin, low, high if margin else -low


def _rates(sign: float, margins: Sequence[float]) -> tuple[float, float, float]:
    """Value, low and high of a margin in [-1, 1] as win rates, turned back to the side that was asked for."""
    value, low, high = (50.0 + round(50.0 * float(margin) * _GRID) / _GRID for margin in margins)
    return (value, low, high) if sign > 0 else (100.0 - value, 100.0 - high, 100.0 - low)


def _draws(
    random: np.random.Generator, prompts: Sequence[Hashable], runs: Sequence[str], resamples: int
) -> Iterator[np.ndarray]:
    """How often each pair is in each bootstrap sample, [samples at once, pairs], so that memory stays small.

    Runs and prompts are drawn apart, and a pair is in the sample as often as its run times its prompt; a sample that
    holds no pair at all is left out.
    """
    (of_prompt, prompt_count), (of_run, run_count) = _numbered(prompts), _numbered(runs)
    at_once = max(1, _DRAWN // len(of_prompt))
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn_runs = random.multinomial(run_count, np.full(run_count, 1 / run_count), size)
        drawn_prompts = random.multinomial(prompt_count, np.full(prompt_count, 1 / prompt_count), size)
        weights = (drawn_runs[:, of_run] * drawn_prompts[:, of_prompt]).astype(np.float64)
        yield weights[weights.any(1)]


def _numbered(names: Sequence[Hashable]) -> tuple[list[int], int]:
    """The names as numbers, in the order of first coming up, and how many there are."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return [places[name] for name in names], len(places)


def _fitted(margins: np.ndarray, z: np.ndarray, weights: np.ndarray, *, clip: bool = False) -> np.ndarray:
    """tanh(a / 2) = 2 sigmoid(a) - 1 of the logistic model of each row of weights, by Newton's method.

    Args:
        margins: 2 v - 1, [count].
        z: Standardized length differences, [count].
        weights: Of each prompt in each fit, [fits, count].
        clip: Whether a fit that runs to infinity ends at the edge; else it is NaN.
    """
    found = np.zeros((2, len(weights)))  # a, then b
    for _ in range(100):
        predicted = np.tanh((found[0, :, None] + found[1, :, None] * z) / 2)
        residual, curvature = weights * (margins - predicted), weights * (1 - predicted**2) / 2
        first, second = residual.sum(1), residual @ z
        aa, ab, bb = curvature.sum(1) + 1e-9, curvature @ z, curvature @ z**2 + 1e-9
        steps = np.array([bb * first - ab * second, aa * second - ab * first]) / (aa * bb - ab**2)
        # far from the solution a whole step can overshoot
        steps *= np.minimum(1.0, 1.0 / np.maximum(abs(steps).max(0), 1e-300))
        before, found = found, np.clip(found + steps, -_LARGEST, _LARGEST)
        if abs(found - before).max() < 1e-12:
            break
    infinite = abs(found).max(0) >= _LARGEST
    return np.where(infinite & (not clip), np.nan, np.tanh(found[0] / 2))
