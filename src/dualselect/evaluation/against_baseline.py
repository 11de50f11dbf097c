"""Win rates of one evaluation against another, by a pairwise judge of their responses."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from dualselect.errors import DataError
from dualselect.evaluation.results import (
    Evaluation,
    PreferenceRecord,
    ResponseRecord,
    SummaryRow,
    whole_characters,
)
from dualselect.evaluation.store import Store, key_of
from dualselect.evaluation.win_rate import WinRate, average_win_rate, length_controlled_win_rate, win_rate
from dualselect.judges import BothOrders, Pair, PairwiseJudge, Verdict


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compared:
    """Responses of two models to the prompts of a suite, with the judge's preferences.

    Attributes:
        pairs: First the candidate's response, then the baseline's.
        preferences: Preference for each pair, judged in both orders.
        left_out: Number of prompts without two responses.
        purpose: Purpose of the suite.
    """

    pairs: Sequence[Pair]
    preferences: Sequence[Verdict]
    left_out: int
    purpose: str = ""


def win_rates(
    compared: Mapping[str, Compared], judge: PairwiseJudge, *, average: Sequence[str] = ()
) -> list[SummaryRow]:
    """The rows `win_rate` and `win_rate_length_controlled` of each suite.

    Args:
        compared: Result of `preferences`.
        judge: The judge.
        average: Suites whose mean win rate is an additional row; the paper's Safety Avg.

    Raises:
        DataError: A suite to average is not among them.
    """
    if missing := sorted(set(average) - set(compared)):
        raise DataError(
            f"cannot average over {', '.join(missing)}: both evaluations have responses in "
            f"{', '.join(compared)}; choose from these"
        )
    rows = []
    for suite, one in compared.items():
        rows.append(_row(suite, judge, "win_rate", win_rate(one.preferences), one.left_out, one.purpose))
        controlled = length_controlled_win_rate(one.pairs, one.preferences)
        rows.append(_row(suite, judge, "win_rate_length_controlled", controlled, one.left_out, one.purpose))
    if average:
        chosen = [compared[suite] for suite in average]
        mean = average_win_rate([one.preferences for one in chosen])
        name = f"average of {', '.join(average)}"
        rows.append(_row(name, judge, "win_rate", mean, sum(one.left_out for one in chosen)))
    return rows


def preference_records(compared: Mapping[str, Compared], judge: PairwiseJudge) -> list[PreferenceRecord]:
    """Preferences as records of an evaluation file."""
    return [
        PreferenceRecord(suite, pair.id, judge.name, verdict.value, verdict.reason, whole_characters(verdict.raw))
        for suite, one in compared.items()
        for pair, verdict in zip(one.pairs, one.preferences, strict=True)
    ]


def preferences(
    candidate: Evaluation, baseline: Evaluation, judge: PairwiseJudge, store: Store, *, progress: bool = True
) -> dict[str, Compared]:
    """Judge the responses of two models to the same prompts, by suite.

    Each preference is stored at once, so that an interrupted call resumes. The judge sees both orders, and never
    judges the same two responses twice, regardless of which model gave which.

    Args:
        candidate: The evaluation whose win rate is computed.
        baseline: The evaluation that it is compared with.
        judge: The judge.
        store: Stores preferences; unscored ones are requested again by the next call.
        progress: Whether to show progress bars.

    Raises:
        DataError: The two have no response to a prompt in common.
        JudgeError: The judge fails permanently; earlier preferences are stored.
    """
    purposes = {row.suite: row.purpose for row in candidate.summary}
    return {
        suite: Compared(pairs, _preferences(suite, pairs, judge, store, progress), left_out, purposes.get(suite, ""))
        for suite, (pairs, left_out) in _pairs(candidate, baseline).items()
    }


def _pairs(candidate: Evaluation, baseline: Evaluation) -> dict[str, tuple[list[Pair], int]]:
    """Pairs of responses by suite, and the number of prompts without a pair."""
    ours, theirs = _by_prompt(candidate), _by_prompt(baseline)
    suites = {}
    for suite in dict.fromkeys(suite for suite, _, _ in ours):
        shared = [(ours[key], theirs[key]) for key in ours if key[0] == suite and key in theirs]
        both = [(one, other) for one, other in shared if not (one.has_no_answer or other.has_no_answer)]
        if any(one.response or other.response for one, other in both):
            pairs = [Pair(one.id, one.prompt, one.response, other.response) for one, other in both]
            either = sum(key[0] == suite for key in ours.keys() | theirs.keys())
            suites[suite] = pairs, either - len(pairs)
    if not suites:
        raise DataError(
            "the two evaluations have no response to the same prompt: evaluate both models with the same --suite"
        )
    return suites


def _by_prompt(evaluation: Evaluation) -> dict[tuple[str, str, str], ResponseRecord]:
    return {(one.suite, one.id, json.dumps(one.prompt)): one for one in evaluation.responses}


def _preferences(
    suite: str, pairs: Sequence[Pair], judge: PairwiseJudge, store: Store, progress: bool
) -> list[Verdict]:
    # sort the two responses, so that swapping the models needs no new calls
    sorted_pairs = [
        Pair(pair.id, pair.prompt, min(pair.first, pair.second), max(pair.first, pair.second)) for pair in pairs
    ]
    both = BothOrders(judge)
    keys = [key_of("preference", both.prompt_hash, pair.prompt, pair.first, pair.second) for pair in sorted_pairs]
    missing = {key: pair for key, pair in zip(keys, sorted_pairs, strict=True) if key not in store}
    unscored: dict[str, Verdict] = {}
    names = list(missing)
    title = f"{suite}: {judge.name}"
    with tqdm(total=len(missing), desc=title, unit="pair", leave=False, disable=not progress) as bar:
        for position, verdict in both.preferences(list(missing.values())):
            if verdict.value is None:
                unscored[names[position]] = verdict
            else:
                store.add({names[position]: {"value": verdict.value, "raw": verdict.raw}})
            bar.update()
    no_verdict = Verdict(None, "the judge gave no verdict")
    verdicts = [Verdict(**store[key]) if key in store else unscored.get(key, no_verdict) for key in keys]
    for reason in dict.fromkeys(verdict.reason for verdict in unscored.values()):
        logger.warning("%s: unscored, %s", title, reason)
    return [
        verdict
        if verdict.value is None or pair.first <= pair.second
        else Verdict(1.0 - verdict.value, "", verdict.raw)
        for verdict, pair in zip(verdicts, pairs, strict=True)
    ]


def _row(suite: str, judge: PairwiseJudge, metric: str, rate: WinRate, left_out: int, purpose: str = "") -> SummaryRow:
    if rate.reason:
        logger.warning("%s: no %s: %s", suite, metric, rate.reason)
    return SummaryRow(
        suite=suite,
        judge=judge.name,
        metric=metric,
        category="",
        value=rate.value,
        low=rate.low,
        high=rate.high,
        count=rate.count,
        unscored=rate.unscored + left_out,
        interval=rate.interval,
        higher_is_better=True,
        purpose=purpose,
    )
