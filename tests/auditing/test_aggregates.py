"""Ranks and budgets of stored rows, against the choice that a training makes."""

import numpy as np
import pytest
import torch

from dualselect.auditing.aggregates import Aggregates, GroupAggregates, Ranking, share
from dualselect.auditing.settings import BUDGETS
from dualselect.evaluation.intervals import rate
from dualselect.selection import choose_by_tokens


def lines(count, seed):
    chance = np.random.default_rng(seed)
    return [
        {
            "lacks": "empty response" if chance.random() < 0.1 else "",
            "score": float(chance.integers(0, 20)),
            "tokens": int(chance.integers(1, 60)),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_budget_keeps_what_the_trainer_would_keep_of_one_large_step(seed):
    rows = lines(57, seed)
    ranking = Ranking.of(rows, len(rows))
    scored = [index for index, row in enumerate(rows) if not row["lacks"]]
    scores = torch.tensor([rows[index]["score"] for index in scored])
    tokens = torch.tensor([rows[index]["tokens"] for index in scored])
    for budget in BUDGETS:
        kept = [index for index in range(len(rows)) if ranking.keeps(index)[f"{budget:g}"]]
        assert kept == [scored[index] for index in choose_by_tokens(scores, tokens, budget).kept]
    assert sorted(ranking.ranks[scored]) == list(range(1, len(scored) + 1))
    assert rows[int(np.flatnonzero(ranking.ranks == 1)[0])]["score"] == scores.max()


def test_nothing_scored_has_no_rank():
    rows = [{"lacks": "empty response"}] * 3
    ranking = Ranking.of(rows, 3)
    assert ranking.ranks.tolist() == [0, 0, 0]
    assert not any(ranking.keeps(0).values())


def finished(tokens, conflict):
    return {
        "unscored": "",
        "category": "",
        "conflict_score": 2.0 if conflict else -2.0,
        "conflict": conflict,
        "tokens": tokens,
        "conflict_categories": [{"category": "fraud", "cosine": -0.3}] if conflict else [],
        "kept": {"0.9": not conflict},
    }


def test_the_interval_of_a_samples_token_share_holds_the_share_of_all_rows():
    chance = np.random.default_rng(0)
    tokens, conflict = chance.integers(1, 100, 5000), chance.random(5000) < 0.2
    truth, held = tokens[~conflict].sum() / tokens.sum(), 0
    for _ in range(60):
        counts = Aggregates([], labelled=False)
        for index in chance.choice(5000, 150, replace=False):
            counts.add(finished(int(tokens[index]), bool(conflict[index])), "task")
        share = counts.kept_token_share
        held += share["low"] <= truth <= share["high"]
    assert held >= 52  # 57 are expected of 60


@pytest.mark.parametrize("conflict", [False, True])
def test_the_interval_of_a_sample_that_is_all_alike_does_not_collapse(conflict):
    even, uneven = Aggregates([], labelled=False), Aggregates([], labelled=False)
    for index in range(20):
        even.add(finished(10, conflict), "task")
        uneven.add(finished(1 + 30 * (index % 4 == 0), conflict), "task")
    expected, share = rate(0 if conflict else 20, 20), even.kept_token_share
    assert share["value"] == expected.value
    assert (share["low"], share["high"]) == pytest.approx((expected.low, expected.high))
    wide = uneven.kept_token_share  # a few long rows say less
    assert wide["high"] - wide["low"] > share["high"] - share["low"]


def test_shares_of_kinds_and_budgets():
    found = Aggregates(["fraud", "theft"], labelled=False)
    for conflict in (True, False, False, False):
        found.add(finished(10, conflict), "chat")
    chat = found.kinds_as_values()["chat"]
    assert (chat["rows"], chat["conflict"]["value"]) == (4, 0.25)
    assert chat["categories"] == {"fraud": share(1, 4), "theft": share(0, 4)}
    assert chat["kept"]["0.9"] == share(3, 4)
    assert found.all_as_values() == chat
    assert sum(chat["histogram"].values()) == 4
    assert found.budgets_as_values()["0.9"] == {"dropped": 1, "dropped_in_conflict": 1}
    assert found.detection_as_values([]) is None


@pytest.mark.parametrize("quiet", [False, True])
def test_the_resampling_of_known_rows_has_a_bar(capsys, quiet):
    counts = Aggregates([], labelled=True, quiet=quiet)
    for index in range(6):
        kind = ("risky", "chat", "task")[index % 3]
        counts.add(finished(1, False) | {"risky": kind == "risky", "scores": {"loss": float(index)}}, kind)
    found = counts.detection_as_values([])
    assert list(found["scores"]["loss"]["against"]) == ["chat", "task"]
    told = capsys.readouterr().err
    assert ("Bootstrap" in told) != quiet
    assert quiet or "0/3" in told  # over all rows, and against either kind


def test_scores_beyond_the_range_are_in_the_outermost_bins():
    counts = GroupAggregates()
    for score in (-100.0, 100.0, 0.05):
        counts.add(finished(1, False) | {"conflict_score": score})
    assert counts.histogram == {0: 1, 199: 1, 50: 1}
