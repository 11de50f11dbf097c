import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dualselect.selection import (
    choose_by_tokens,
    choose_compatible,
    choose_highest,
    choose_lowest,
    choose_task_rows,
    token_surplus,
)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_rule_for_task_rows_is_the_first_one_that_is_set():
    scores, tokens = numbers(0.3, 2.0, -1.0, 0.7), torch.tensor([5, 5, 5, 5])
    conflicts = numbers(-0.1, -0.2, 0.3, -0.4)
    rules = {"top_k": 1, "token_share": 0.5, "conflict_threshold": 0.0, "conflicts": conflicts}
    assert choose_task_rows(scores, tokens, **rules).kept == [2]
    assert choose_task_rows(scores, tokens, **rules | {"top_k": None}).kept == [0, 2]
    last = {"top_k": None, "token_share": None, "conflict_threshold": 0.0, "conflicts": conflicts}
    assert choose_task_rows(scores, tokens, **last).kept == [0, 1, 3]
    soft = choose_task_rows(scores, tokens, **last, temperature=0.5).weights
    assert soft.argmax() == 0
    assert soft[2] == 0


def test_highest_and_lowest():
    scores = numbers(0.3, 2.0, -1.0, 0.7)
    assert choose_highest(scores, 2).kept == [1, 3]
    assert choose_lowest(scores, 2).kept == [0, 2]
    assert choose_lowest(scores, 2).weights.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_equal_scores_keep_the_order_of_the_rows():
    assert choose_highest(numbers(1, 1, 1, 1), 2).kept == [0, 1]
    assert choose_lowest(numbers(1, 0, 0, 0), 2).kept == [1, 2]
    assert choose_by_tokens(numbers(1, 1, 1, 1), torch.tensor([5, 5, 5, 5]), 0.5).kept == [0, 1]


def test_fewer_rows_than_wanted_one_row_and_none():
    assert choose_lowest(numbers(3, 1), 5).kept == [0, 1]
    assert choose_lowest(numbers(3), 1).weights.tolist() == [1.0]
    assert choose_lowest(numbers(), 3).kept == []
    assert choose_by_tokens(numbers(4), torch.tensor([7]), 0.1).kept == [0]


def test_the_example_that_crosses_the_token_line_is_kept():
    scores, tokens = numbers(1, 2, 3, 4), torch.tensor([40, 40, 15, 5])
    assert choose_by_tokens(scores, tokens, 0.80).kept == [0, 1]
    assert choose_by_tokens(scores, tokens, 0.81).kept == [0, 1, 2]
    assert choose_by_tokens(scores, tokens, 1.0).kept == [0, 1, 2, 3]
    assert choose_by_tokens(scores, torch.tensor([1] * 4), 0.75).kept == [0, 1, 2]


def test_a_share_of_ten_whole_tokens_is_not_a_hair_more():
    for count in (3, 7, 9):
        assert len(choose_by_tokens(torch.arange(10.0), torch.ones(10), count / 10).kept) == count


def test_long_examples_fill_the_budget_with_fewer_rows():
    assert choose_by_tokens(numbers(0, 1, 2), torch.tensor([90, 5, 5]), 0.9).kept == [0]


def test_compatible_drops_all_that_conflict():
    scores = numbers(1, 2, 3)
    assert choose_compatible(scores, numbers(0.2, -0.1, 0.0), 0.0).kept == [1, 2]
    assert choose_compatible(scores, numbers(0.2, 0.1, 0.3), 0.0).kept == []
    assert choose_compatible(scores, numbers(0.2, 0.1, 0.3), 1.0).kept == [0, 1, 2]


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6), st.floats(0.05, 5))
def test_soft_weights_minimize_the_entropy_regularized_problem(values, temperature):
    scores = numbers(*values)
    weights = choose_lowest(scores, len(values), temperature=temperature).weights

    def objective(p):
        return float((p * scores).sum() + temperature * torch.special.xlogy(p, p).sum())

    best = -temperature * math.log(sum(math.exp(-value / temperature) for value in values))  # log-partition
    assert objective(weights) == pytest.approx(best, abs=1e-9)
    for one, other in itertools.permutations(range(len(values)), 2):
        moved = weights.clone()
        shift = min(1e-3, float(moved[one]))
        moved[one] -= shift
        moved[other] += shift
        assert objective(moved) >= best - 1e-12


def test_soft_weights_of_references_grow_with_the_score_and_are_renormalized_over_the_kept():
    choice = choose_highest(numbers(0.0, 1.0, 2.0), 2, temperature=1.0)
    assert choice.kept == [1, 2]
    assert choice.weights.tolist() == pytest.approx([0.0, 1 / (1 + math.e), math.e / (1 + math.e)])


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.integers(1, 8))
def test_hard_is_the_limit_of_soft(values, count):
    hard = choose_highest(numbers(*values), count)
    assert choose_highest(numbers(*values), count, temperature=1e6).weights.tolist() == pytest.approx(
        hard.weights.tolist(), abs=1e-4
    )


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_scores_that_are_not_finite_have_no_rank(bad):
    with pytest.raises(ValueError, match="finite"):
        choose_lowest(numbers(1.0, bad), 1)


@given(
    steps=st.lists(
        st.lists(st.tuples(st.integers(1, 50), st.floats(-5, 5)), min_size=2, max_size=8), min_size=1, max_size=12
    ),
    share=st.floats(0.3, 1.0),
)
def test_a_budget_over_the_run_keeps_its_share_of_the_tokens_up_to_one_example(steps, share):
    kept = offered = surplus = 0.0
    for rows in steps:
        tokens, scores = torch.tensor([[row[0] for row in rows], [row[1] for row in rows]], dtype=torch.float64)
        choice = choose_by_tokens(scores, tokens, share, surplus=surplus)
        kept, offered = kept + float(tokens[choice.kept].sum()), offered + float(tokens.sum())
        surplus = token_surplus(kept, offered, share)
        assert choice.kept
        assert surplus == pytest.approx(kept - share * offered, abs=1e-6)  # never less than the share
        if len(choice.kept) > 1:
            assert surplus <= float(tokens.max()) + 1e-6


def test_equal_rows_lose_a_tenth_over_the_run_and_nothing_per_step():
    tokens, scores = torch.full((8,), 10.0, dtype=torch.float64), torch.arange(8.0, dtype=torch.float64)
    counts = []
    for step in range(10):
        surplus = token_surplus(10.0 * sum(counts), 80.0 * step, 0.9)
        counts.append(len(choose_by_tokens(scores, tokens, 0.9, surplus=surplus).kept))
    assert sum(counts) == 72
    assert counts[:5] == [8, 7, 7, 7, 7]
    assert len(choose_by_tokens(scores, tokens, 0.9).kept) == 8
