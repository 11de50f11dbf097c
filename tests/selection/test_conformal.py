"""Conformal p-values: by hand, by their guarantee, and one kind of harmless row deciding for all."""

import math

import numpy as np
import pytest
import torch

from dualselect.selection import HarmlessScores, rows_needed


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_a_p_value_counts_the_harmless_rows_that_score_as_high():
    harmless = HarmlessScores({"chat": numbers(0.1, 0.2, 0.3, 0.4)})
    assert harmless.p_values(numbers(0.5, 0.4, 0.25, 0.0)).tolist() == pytest.approx([1 / 5, 2 / 5, 3 / 5, 1.0])


def test_the_most_careful_kind_decides():
    harmless = HarmlessScores({"chat": numbers(0.1, 0.2, 0.3), "task": numbers(0.8, 0.0, 0.9)})
    assert harmless.p_values(numbers(0.5)).tolist() == pytest.approx([3 / 4])
    assert harmless.threshold(0.25) == 0.9
    assert harmless.dropped_if_left_out(0.25) == {"chat": 0.0, "task": pytest.approx(2 / 3)}


@pytest.mark.parametrize(("rate", "rows"), [(0.01, 99), (0.05, 19), (0.5, 1), (1 / 3, 2)])
def test_fewer_rows_than_needed_never_drop_anything(rate, rows):
    assert rows_needed(rate) == rows
    high = numbers(1e9)
    assert HarmlessScores({"chat": torch.arange(rows)}).threshold(rate) == rows - 1
    assert HarmlessScores({"chat": torch.arange(rows)}).p_values(high) <= rate
    fewer = HarmlessScores({"chat": torch.arange(rows - 1)})
    assert fewer.threshold(rate) == math.inf
    assert fewer.p_values(high) > rate


@pytest.mark.parametrize("rate", [0.01, 0.04, 0.1, 0.37])
@pytest.mark.parametrize("count", [99, 100, 150])
def test_the_threshold_and_the_p_values_say_the_same(rate, count):
    chance = torch.Generator().manual_seed(count)
    harmless = HarmlessScores(
        {
            "chat": torch.randn(count, generator=chance, dtype=torch.float64).round(decimals=1),  # with ties
            "task": torch.randn(count + 20, generator=chance, dtype=torch.float64).round(decimals=1),
        }
    )
    rows = torch.randn(500, generator=chance, dtype=torch.float64).round(decimals=1)
    assert torch.equal(harmless.p_values(rows) <= rate, rows > harmless.threshold(rate))


def test_harmless_rows_are_dropped_at_no_more_than_the_rate():
    chance = np.random.default_rng(0)
    dropped = []
    for _ in range(400):
        harmless = HarmlessScores({"chat": torch.from_numpy(chance.standard_cauchy(100))})
        dropped.append((torch.from_numpy(chance.standard_cauchy(200)) > harmless.threshold(0.05)).double().mean())
    mean, error = np.mean(dropped), np.std(dropped) / 20
    assert 0.05 - 4 * error - 0.01 < mean < 0.05 + 4 * error


def test_without_harmless_rows_nothing_is_dropped():
    assert HarmlessScores({}).threshold(0.5) == math.inf
    assert HarmlessScores({}).p_values(numbers(3, 4)).tolist() == [1, 1]
    assert HarmlessScores({"chat": numbers(1)}).dropped_if_left_out(0.5) == {}
