"""Win rates of a method against the baseline of the same seed, by a pairwise judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dualselect.comparison.results import Row
from dualselect.comparison.statistics import mean_over_suites
from dualselect.errors import ConfigError
from dualselect.evaluation.against_baseline import Compared, preferences
from dualselect.evaluation.intervals import wilson
from dualselect.evaluation.results import Evaluation
from dualselect.evaluation.store import Store
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.win_rate import effective_prompts, length_controlled_win_rate
from dualselect.judges import PairwiseJudge


JUDGED = ("harmful", "chat")
"""Purposes of the suites with win rates: safety, and open-ended usefulness."""
BySeed = Mapping[str, Compared]


def averaged_suites(wanted: Sequence[str], suites: Sequence[Suite]) -> list[str]:
    """Names of the suites that are averaged in Safety Avg.

    Args:
        wanted: Names from the config; empty means the harmful suites.
        suites: The suites of the table.

    Raises:
        ConfigError: A name is unknown, or its suite has no win rates.
    """
    if not wanted:
        return [suite.name for suite in suites if suite.purpose == "harmful"]
    known = [suite.name for suite in suites if suite.purpose in JUDGED]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"evaluation: average names {unknown[0]}, but only harmful and chat suites have win rates: choose from "
            f"{', '.join(known) or '(none)'}"
        )
    return list(dict.fromkeys(wanted))


def win_rate_rows(
    method: str,
    evaluations: Mapping[str, Evaluation],
    baseline: Mapping[str, Evaluation],
    suites: Sequence[Suite],
    average: Sequence[str],
    judge: PairwiseJudge,
    store: Store,
) -> list[Row]:
    """Win rates of a method against the baseline; asks the judge for missing preferences.

    Returns `win_rate` and `win_rate_length_controlled` of each suite, and `safety_average`, the mean of the win rates
    of the averaged suites (arXiv 2606.09866), unless one of them is missing. Intervals are over seeds and prompts, or
    over prompts only if all preferences are equal. The length-controlled rate is one fit over the pairs of all seeds.

    Args:
        method: Name of the entry.
        evaluations: Evaluations of its runs, by seed.
        baseline: Evaluations of the baseline's runs, by seed.
        suites: The suites of the table.
        average: Names of the suites in `safety_average`, equally weighted.
        judge: The judge, which sees each pair in both orders.
        store: Stored preferences.

    Raises:
        JudgeError: The judge fails permanently; preferences so far are stored.
    """
    judged = {suite.name: suite.purpose for suite in suites if suite.purpose in JUDGED}
    shared = [seed for seed in evaluations if seed in baseline]
    if not judged or not shared:
        return []
    compared = {
        seed: preferences(_only(evaluations[seed], judged), _only(baseline[seed], judged), judge, store)
        for seed in shared
    }
    rows: list[Row] = []
    safety: list[BySeed] = []
    for suite, purpose in judged.items():
        by_seed = {seed: suites_[suite] for seed, suites_ in compared.items() if suite in suites_}
        if len(by_seed) < len(shared):  # no responses to compare in some run
            continue
        rows.append(_win_rate(method, suite, judge.name, "win_rate", [by_seed], purpose))
        rows.append(_controlled(method, suite, judge.name, by_seed, purpose))
        safety += [by_seed] if suite in average else []
    if safety and len(safety) == len(average):
        rows.append(_win_rate(method, "", judge.name, "safety_average", safety))
    return rows


def _only(evaluation: Evaluation, suites: Mapping[str, str]) -> Evaluation:
    return replace(evaluation, responses=[one for one in evaluation.responses if one.suite in suites])


def _win_rate(method: str, suite: str, judge: str, metric: str, suites: Sequence[BySeed], purpose: str = "") -> Row:
    tables = [
        [
            [None if one.value is None else 100 * one.value for one in compared.preferences]
            for compared in by_seed.values()
        ]
        for by_seed in suites
    ]
    values = [value for table in tables for row in table for value in row]
    distinct = [{value for row in table for value in row if value is not None} for table in tables]
    unscored = sum(value is None for value in values)
    complete = all(any(value is not None for value in row) for table in tables for row in table)
    mean = mean_over_suites(tables) if complete else None
    value, low, high = (mean.value, mean.low, mean.high) if mean else (None, None, None)
    interval = "bootstrap" if mean else ""
    if mean and all(len(some) == 1 for some in distinct):  # a bootstrap interval would have no width
        prompts = [sum(set(column) != {None} for column in zip(*table, strict=True)) for table in tables]
        low, high = (100 * end for end in wilson(mean.value / 100, effective_prompts(prompts)))
        interval = "wilson"
    seeds = {
        seed: mean_over_suites([[table[index]] for table in tables]).value if complete else None
        for index, seed in enumerate(suites[0])
    }
    left_out = sum(compared.left_out for by_seed in suites for compared in by_seed.values())
    return Row(
        method, suite, judge, metric, value, low, high, len(values) - unscored, unscored + left_out,
        interval, True, seeds, purpose=purpose,
    )  # fmt: skip


def _controlled(method: str, suite: str, judge: str, by_seed: BySeed, purpose: str) -> Row:
    overall = length_controlled_win_rate(
        [pair for compared in by_seed.values() for pair in compared.pairs],
        [one for compared in by_seed.values() for one in compared.preferences],
        runs=[seed for seed, compared in by_seed.items() for _ in compared.pairs],
    )
    seeds = {
        seed: length_controlled_win_rate(compared.pairs, compared.preferences).value
        for seed, compared in by_seed.items()
    }
    left_out = sum(compared.left_out for compared in by_seed.values())
    return Row(
        method, suite, judge, "win_rate_length_controlled", overall.value, overall.low, overall.high, overall.count,
        overall.unscored + left_out, overall.interval if overall.value is not None else "", True, seeds,
        purpose=purpose,
    )  # fmt: skip
