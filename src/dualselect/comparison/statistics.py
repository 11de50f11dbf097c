"""Bootstrap intervals over seeds and prompts of several suites."""

from collections.abc import Sequence

import numpy as np

from dualselect.evaluation.intervals import RESAMPLES, Mean


def mean_over_suites(suites: Sequence[Sequence[Sequence[float | None]]], *, seed: int = 0) -> Mean:
    """Unweighted mean of the means of several suites, with a 95% bootstrap interval.

    Each bootstrap sample resamples seeds jointly for all suites, and prompts within each suite. With one suite this
    equals `mean_over_seeds`.

    Args:
        suites: For each suite and seed, one number per prompt; None if missing.
        seed: Seed of the bootstrap.

    Raises:
        ValueError: A suite has no numbers.
    """
    random = np.random.default_rng(seed)
    seeds = len(suites[0])
    seed_counts = random.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLES)
    value, samples, count = 0.0, np.zeros(RESAMPLES), 0
    for suite in suites:
        table = np.array([[np.nan if one is None else one for one in row] for row in suite], dtype=np.float64)
        present = ~np.isnan(table)
        if not present.any():
            raise ValueError("a suite without numbers has no mean")
        table[~present] = 0.0
        prompts = table.shape[1]
        prompt_counts = random.multinomial(prompts, np.full(prompts, 1 / prompts), RESAMPLES)
        totals = ((seed_counts @ table) * prompt_counts).sum(1)
        counts = ((seed_counts @ present) * prompt_counts).sum(1)
        mean = table.sum() / present.sum()
        samples += np.where(counts > 0, totals / np.maximum(counts, 1), mean) / len(suites)
        value += float(mean) / len(suites)
        count += int(present.sum())
    low, high = np.quantile(samples, [0.025, 0.975])
    return Mean(value, float(low), float(high), count)
