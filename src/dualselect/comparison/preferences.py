"""Win rates of a method against the baseline of the same seed, by a pairwise judge."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dualselect.comparison.results import Row
from dualselect.comparison.statistics import mean_over_suites
from dualselect.evaluation.against_baseline import Compared, preferences
from dualselect.evaluation.results import Evaluation
from dualselect.evaluation.store import Store
from dualselect.evaluation.suite import Suite
from dualselect.evaluation.win_rate import length_controlled_win_rate
from dualselect.judges import PairwiseJudge


JUDGED = ("harmful", "chat")
"""Purposes of the suites that win rates are of: safety, and open-ended usefulness."""
BySeed = Mapping[str, Compared]


def win_rate_rows(
    method: str,
    evaluations: Mapping[str, Evaluation],
    baseline: Mapping[str, Evaluation],
    suites: Sequence[Suite],
    judge: PairwiseJudge,
    store: Store,
) -> list[Row]:
    """Ask a judge for what is not known yet, and make rows of it.

    `win_rate` and `win_rate_length_controlled` of each suite, and `safety_average`, the mean of the win rates of the
    harmful suites (arXiv 2606.09866). The length-controlled rate takes the prompts of all seeds together, so that its
    interval is over prompts only.

    Args:
        method: Name of the line.
        evaluations: Of its runs, by seed.
        baseline: Of the baseline's runs.
        suites: The suites of the table.
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
        rows.append(_win_rate(method, suite, judge.name, "win_rate", [by_seed]))
        rows.append(_controlled(method, suite, judge.name, by_seed))
        safety += [by_seed] if purpose == "harmful" else []
    if safety:
        rows.append(_win_rate(method, "", judge.name, "safety_average", safety))
    return rows


def _only(evaluation: Evaluation, suites: Mapping[str, str]) -> Evaluation:
    return replace(evaluation, responses=[one for one in evaluation.responses if one.suite in suites])


def _win_rate(method: str, suite: str, judge: str, metric: str, suites: Sequence[BySeed]) -> Row:
    tables = [
        [
            [None if one.value is None else 100 * one.value for one in compared.preferences]
            for compared in by_seed.values()
        ]
        for by_seed in suites
    ]
    everything = [one for table in tables for row in table for one in row]
    unscored = sum(one is None for one in everything)
    known = all(any(one is not None for one in row) for table in tables for row in table)
    found = mean_over_suites(tables) if known else None
    value, low, high = (found.value, found.low, found.high) if found else (None, None, None)
    seeds = {
        seed: mean_over_suites([[table[place]] for table in tables]).value if known else None
        for place, seed in enumerate(suites[0])
    }
    left_out = sum(compared.left_out for by_seed in suites for compared in by_seed.values())
    return Row(
        method, suite, judge, metric, value, low, high, len(everything) - unscored, unscored + left_out,
        "bootstrap" if found else "", True, seeds,
    )  # fmt: skip


def _controlled(method: str, suite: str, judge: str, by_seed: BySeed) -> Row:
    pairs = [pair for compared in by_seed.values() for pair in compared.pairs]
    found = length_controlled_win_rate(pairs, [one for compared in by_seed.values() for one in compared.preferences])
    seeds = {
        seed: length_controlled_win_rate(compared.pairs, compared.preferences).value
        for seed, compared in by_seed.items()
    }
    left_out = sum(compared.left_out for compared in by_seed.values())
    return Row(
        method, suite, judge, "win_rate_length_controlled", found.value, found.low, found.high, found.count,
        found.unscored + left_out, "bootstrap" if found.value is not None else "", True, seeds,
    )  # fmt: skip
