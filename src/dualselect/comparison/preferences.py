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
from dualselect.evaluation.win_rate import length_controlled_win_rate, prompts_behind
from dualselect.judges import PairwiseJudge


JUDGED = ("harmful", "chat")
"""Purposes of the suites that win rates are of: safety, and open-ended usefulness."""
BySeed = Mapping[str, Compared]


def averaged_suites(wanted: Sequence[str], suites: Sequence[Suite]) -> list[str]:
    """Names of the suites that Safety Avg is over.

    Args:
        wanted: Their names; none are the harmful ones.
        suites: The suites of the table.

    Raises:
        ConfigError: There is no such suite, or none that win rates are of.
    """
    if not wanted:
        return [suite.name for suite in suites if suite.purpose == "harmful"]
    known = [suite.name for suite in suites if suite.purpose in JUDGED]
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"evaluation: average names {unknown[0]}, and win rates are of the harmful and chat suites "
            f"{', '.join(known) or '(none here)'}: name some of these"
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
    """Ask a judge for what is not known yet, and make rows of it.

    `win_rate` and `win_rate_length_controlled` of each suite, and `safety_average`, the mean of the win rates of some
    suites (arXiv 2606.09866); none where one of these has no win rate. All intervals are over seeds and prompts, over
    prompts alone where all preferences are alike; the length-controlled rate is one fit over the pairs of all seeds.

    Args:
        method: Name of the line.
        evaluations: Of its runs, by seed.
        baseline: Of the baseline's runs.
        suites: The suites of the table.
        average: Names of those that `safety_average` is over; each has the same weight.
        judge: The judge, asked in both orders.
        store: Its preferences so far.

    Raises:
        JudgeError: The judge fails for good; what it said is kept.
    """
    judged = {suite.name: suite.purpose for suite in suites if suite.purpose in JUDGED}
    shared = [seed for seed in evaluations if seed in baseline]
    if not judged or not shared:
        return []
    asked = {
        seed: preferences(_only(evaluations[seed], judged), _only(baseline[seed], judged), judge, store)
        for seed in shared
    }
    rows: list[Row] = []
    safety: list[BySeed] = []
    for suite, purpose in judged.items():
        by_seed = {seed: found[suite] for seed, found in asked.items() if suite in found}
        if len(by_seed) < len(shared):  # somebody said nothing at all there
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
    everything = [one for table in tables for row in table for one in row]
    different = [{one for row in table for one in row if one is not None} for table in tables]
    unscored = sum(one is None for one in everything)
    known = all(any(one is not None for one in row) for table in tables for row in table)
    found = mean_over_suites(tables) if known else None
    value, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    interval = "bootstrap" if found else ""
    if found and all(len(values) == 1 for values in different):  # a bootstrap would claim to be certain
        prompts = [sum(set(column) != {None} for column in zip(*table, strict=True)) for table in tables]
        low, high = (100 * end for end in wilson(found.value / 100, prompts_behind(prompts)))
        interval = "wilson"
    seeds = {
        seed: mean_over_suites([[table[place]] for table in tables]).value if known else None
        for place, seed in enumerate(suites[0])
    }
    left_out = sum(compared.left_out for by_seed in suites for compared in by_seed.values())
    return Row(
        method, suite, judge, metric, value, low, high, len(everything) - unscored, unscored + left_out,
        interval, True, seeds, purpose=purpose,
    )  # fmt: skip


def _controlled(method: str, suite: str, judge: str, by_seed: BySeed, purpose: str) -> Row:
    found = length_controlled_win_rate(
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
        method, suite, judge, "win_rate_length_controlled", found.value, found.low, found.high, found.count,
        found.unscored + left_out, found.interval if found.value is not None else "", True, seeds, purpose=purpose,
    )  # fmt: skip
