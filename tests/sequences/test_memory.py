"""The memory of earlier tasks."""

import pytest

from dualselect.errors import ResumeError
from dualselect.sequences.config import MemoryConfig
from dualselect.sequences.memory import (
    SAFETY,
    MemoryRow,
    read_memory,
    updated,
    with_scores,
    write_memory,
)


def rows(task, count, tokens=10, score=None):
    return [MemoryRow(f"{task}/{n}", task, f"prompt {n}", "answer", tokens, score=score) for n in range(count)]


def counts(memory):
    return {task: sum(row.kind == task for row in memory) for task in sorted({row.kind for row in memory})}


def learned(policy, sizes, budget=30, **settings):
    memory = []
    for seen, (task, size) in enumerate(sizes.items()):
        memory = updated(memory, rows(task, size), seen, MemoryConfig(budget, policy=policy, **settings), seed=0)
    return memory


def test_a_quota_gives_each_task_the_same_number_of_rows():
    assert counts(learned("quota", {"a": 100, "b": 20, "c": 50})) == {"a": 10, "b": 10, "c": 10}
    assert counts(learned("quota", {"a": 100, "b": 3})) == {"a": 27, "b": 3}


def test_a_reservoir_is_a_uniform_sample_of_all_rows_seen():
    found = counts(learned("reservoir", {"a": 900, "b": 100}, budget=200))
    assert sum(found.values()) == 200
    assert 5 <= found["b"] <= 40  # a tenth of the rows seen
    one_by_one = learned("reservoir", {"a": 50, "b": 50, "c": 50}, budget=20)
    at_once = updated(
        [], rows("a", 50) + rows("b", 50) + rows("c", 50), 0, MemoryConfig(20, policy="reservoir"), seed=0
    )
    assert one_by_one == at_once


def test_scored_evicts_the_rows_with_the_lowest_scores():
    old = [MemoryRow(f"a/{n}", "a", "p", "c", 10, score=float(n)) for n in range(20)]
    kept = updated(old, rows("b", 50), 1, MemoryConfig(20, policy="scored"), seed=0)
    assert counts(kept) == {"a": 10, "b": 10}
    assert {row.score for row in kept if row.kind == "a"} == {float(n) for n in range(10, 20)}


def test_a_row_without_a_score_is_not_the_first_to_go():
    old = [MemoryRow("a/0", "a", "p", "c", 10), MemoryRow("a/1", "a", "p", "c", 10, score=9.0)]
    kept = updated(old, rows("b", 5), 1, MemoryConfig(2, policy="scored"), seed=0)
    assert {row.id for row in kept if row.kind == "a"} == {"a/0"}


def test_the_budget_of_tokens_is_shared_among_the_tasks():
    memory = learned("quota", {"a": 100, "b": 100}, budget=40, tokens=100)
    assert sum(row.tokens for row in memory) <= 100
    assert counts(memory) == {"a": 5, "b": 5}


def test_it_depends_on_the_seed_and_not_on_the_moment():
    again = learned("quota", {"a": 100, "b": 20})
    assert again == learned("quota", {"a": 100, "b": 20})
    other = updated([], rows("a", 100), 0, MemoryConfig(30), seed=1)
    assert {row.id for row in other} != {row.id for row in updated([], rows("a", 100), 0, MemoryConfig(30), seed=0)}


def test_safe_responses_are_beside_the_budget():
    safe = [MemoryRow("safety/0", SAFETY, "p", "c", 0)]
    assert all(row.kind != SAFETY for row in updated(safe, rows("a", 50), 0, MemoryConfig(30), seed=0))


def test_scores_are_averaged_over_refreshes_and_runs():
    memory = [MemoryRow("a/0", "a", "p", "c", 1, score=4.0), MemoryRow("a/1", "a", "p", "c", 1)]
    log = [
        {"event": "refresh", "ids": ["a/0", "a/1", "x"], "scores": [1.0, 2.0, 3.0]},
        {"event": "step"},
        {"event": "refresh", "ids": ["a/0"], "scores": [1.0]},
    ]
    assert [row.score for row in with_scores(memory, log)] == [2.0, 2.0]


def test_what_is_written_is_read(tmp_path):
    memory = [MemoryRow("a/0", "a", [{"role": "user", "content": "é"}], "c", 3, 0.5, 1.5)]
    assert write_memory(tmp_path, memory).name == "memory.jsonl"
    assert read_memory(tmp_path) == memory
    (tmp_path / "memory.jsonl").write_text("{")
    with pytest.raises(ResumeError, match=r"memory\.jsonl"):
        read_memory(tmp_path)
