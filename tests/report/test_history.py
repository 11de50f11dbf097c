"""The selection log by refresh, by task row and by reference."""

import pytest

from dualselect.report.history import (
    final_same_references_cosine,
    harmless_if_left_out,
    jaccard,
    means_by_kind,
    references,
    refresh_changes,
    strengths,
    task_drift,
    task_rows,
)


def refresh(step, kept, threshold=None, **facts):
    scores = [2.0, 1.0, 0.5]
    return {
        "event": "refresh",
        "step": step,
        "ids": ["r1", "r2", "r3"],
        "categories": ["fraud", "fraud", "theft"],
        "preservation_losses": scores,
        "cosines": scores,
        "scores": scores,
        "kept": [name in kept for name in ("r1", "r2", "r3")],
        "conflict_threshold": threshold,
        **facts,
    }


def step(number, kept, cosines=(0.5, -0.4)):
    return {
        "event": "step",
        "step": number,
        "ids": ["a", "b"],
        "kinds": ["task", "risky"],
        "losses": [1.0, 2.0],
        "cosines": list(cosines),
        "conflicts": [-10 * cosine for cosine in cosines],
        "scores": [0.5, 2.4],
        "kept": list(kept),
    }


DRIFTED = {"task_direction_cosine": 0.6}
WARMUP = {"event": "warmup", "step": 1, "ids": ["a", "c"], "kinds": ["task", ""], "losses": [3.0, 3.0]}


def test_added_and_removed_categories():
    first, second, third = refresh_changes(
        [refresh(2, ["r1", "r2"]), step(2, [True, True]), refresh(5, ["r2", "r3"]), refresh(9, ["r3"])]
    )
    assert (first.categories_added, first.categories_removed, first.n_added, first.n_removed) == (["fraud"], [], 2, 0)
    assert (second.categories_added, second.categories_removed, second.n_added, second.n_removed) == (
        ["theft"],
        [],
        1,
        1,
    )
    assert (third.categories_added, third.categories_removed) == ([], ["fraud"])
    assert [it.jaccard for it in (first, second, third)] == [None, pytest.approx(1 / 3), pytest.approx(1 / 2)]
    assert second.shares == {"fraud": 0.5, "theft": 1.0}
    assert [it.step for it in (first, second, third)] == [2, 5, 9]


def test_jaccard_of_two_empty_sets_is_one():
    assert jaccard([], []) == 1.0
    assert jaccard("ab", "cd") == 0.0


def test_drift_is_reported_if_the_log_has_it():
    facts = {"task_direction_cosine": 0.7, "reference_direction_cosine": 0.2, "same_references_cosine": 0.9}
    older, short, full = refresh_changes(
        [refresh(2, ["r1"]), refresh(5, ["r1"], task_direction_cosine=None), refresh(9, ["r2"], **facts)]
    )
    for change in (older, short):
        assert (change.task_direction_cosine, change.reference_direction_cosine, change.same_references_cosine) == (
            None,
            None,
            None,
        )
    assert (full.task_direction_cosine, full.reference_direction_cosine, full.same_references_cosine) == (
        0.7,
        0.2,
        0.9,
    )


def test_drift_after_the_last_refresh_comes_from_steps_and_the_end():
    end = {"event": "end", "step": 4, "same_references_cosine": 0.8}
    log = [WARMUP, refresh(2, ["r1"]), step(2, [True, True]), step(3, [True, True]) | DRIFTED, end]
    assert task_drift(log) == [(3, 0.6)]
    assert final_same_references_cosine(log) == 0.8
    assert final_same_references_cosine(log[:-1]) is None
    assert [row.id for row in task_rows(log)] == ["a", "c", "b"]
    assert len(refresh_changes(log)) == 1


def test_a_row_has_occurrences_in_warm_up_and_steps():
    a, c, b = task_rows([WARMUP, refresh(2, ["r1"]), step(2, [True, False]), step(3, [True, True])])
    assert [(it.id, it.kind, it.selection_status, it.dropped) for it in (a, b, c)] == [
        ("a", "task", "always kept", 0),
        ("b", "risky", "sometimes dropped", 1),
        ("c", "(no kind)", "warm-up only", 0),
    ]
    assert [it.kept for it in a.occurrences] == [None, True, True]
    assert c.last.kept is None
    assert b.last.step == 3


def test_the_reason_under_a_budget_is_the_rank():
    a, b = task_rows([refresh(2, ["r1"]), step(2, [True, False])])
    assert a.last.reason == "score rank 1 of 2, lowest first"
    assert b.last.reason == "score rank 2 of 2, lowest first"


def test_the_reason_under_auto_is_the_threshold():
    log = [refresh(2, ["r1"], threshold=1.0), step(2, [True, False])]
    a, b = task_rows(log)
    assert a.last.reason == "conflict score -5.00 not above threshold 1.00"
    assert b.last.reason == "conflict score 4.00 above threshold 1.00"
    a, _ = task_rows([log[0], step(2, [True, False], (-0.5, -0.4))])
    assert a.last.reason == "conflict score 5.00 above threshold 1.00"


def test_a_warmup_with_a_filter_has_kept_and_dropped_rows():
    opening = {"event": "filter", "step": 1, "conflict_threshold": 2.0}
    filtered = WARMUP | {"kept": [True, False], "conflicts": [0.5, 3.0]}
    rows = task_rows([opening, filtered, refresh(2, ["r1"], threshold=1.0), step(2, [True, False])])
    a, c = (next(row for row in rows if row.id == name) for name in ("a", "c"))
    assert [it.kept for it in a.occurrences] == [True, True]
    assert (c.dropped, c.last.cosine, c.last.conflict) == (1, None, 3.0)
    assert c.last.reason == "conflict score 3.00 above threshold 2.00"
    assert means_by_kind(rows, "conflict")["task"] == [(1, 0.5), (2, -5.0)]


def test_a_reference_has_scores_of_all_refreshes():
    first, _, last = references([refresh(2, ["r1"]), refresh(5, ["r1", "r3"])])
    assert (first.times_selected, last.times_selected) == (2, 1)
    assert last.scores == [(2, False, 0.5, 0.5, 0.5), (5, True, 0.5, 0.5, 0.5)]


def test_cosines_are_averaged_by_kind_and_step():
    rows = task_rows([refresh(2, ["r1"]), step(2, [True, False]), step(3, [True, True], (0.1, 0.2))])
    assert means_by_kind(rows, "cosine") == {"risky": [(2, -0.4), (3, 0.2)], "task": [(2, 0.5), (3, 0.1)]}
    assert means_by_kind(rows, "conflict") == {"risky": [(2, 4.0), (3, -2.0)], "task": [(2, -5.0), (3, -1.0)]}


def test_strengths_are_told_by_side():
    log = [
        {"event": "step", "step": 3, "rho": [0.5, 0.1], "held_out_excess": [0.2, -0.1]},
        {"event": "step", "step": 4, "rho": [0.6, 0.0], "held_out_excess": [0.2, -0.1]},
    ]
    assert strengths(log) == {
        "rho, refusals": [(3, 0.5), (4, 0.6)],
        "rho, helpful answers": [(3, 0.1), (4, 0.0)],
        "excess loss, refusals": [(3, 0.2), (4, 0.2)],
        "excess loss, helpful answers": [(3, -0.1), (4, -0.1)],
    }
    assert list(strengths([{"event": "step", "step": 3, "rho": [0.5], "held_out_excess": [0.2]}])) == [
        "rho",
        "excess loss",
    ]
    assert strengths([{"event": "step", "step": 3}, {"event": "warmup", "step": 1}]) == {}


def test_what_an_unknown_kind_would_suffer_is_that_of_the_last_refresh():
    log = [{"event": "refresh", "dropped_if_left_out": {"chat": share}} for share in (0.5, 0.25)]
    assert harmless_if_left_out(log) == {"chat": 0.25}
    assert harmless_if_left_out([{"event": "refresh"}]) == {}
