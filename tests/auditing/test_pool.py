"""The pool of an audit: what makes directions, and what is kept apart to calibrate with."""

import logging
from collections import Counter

import numpy as np
import pytest
from datasets import Dataset
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.auditing.pool import (
    CALIBRATION_REFERENCES,
    HARMLESS_KINDS,
    HARMLESS_ROWS,
    calibration_positions,
    held_out_positions,
    prepare_pool,
)


def test_every_kind_of_harmless_conversation_stands_on_both_sides(tmp_path):
    safe = Dataset.from_list([{"prompt": "help", "completion": "I cannot"}])
    config = DualSelectConfig(
        str(tmp_path), reference_contrast="compliance", max_length=2048, report_to="none", use_cpu=True
    )
    pool = prepare_pool(safe, None, chatml_tokenizer(), config)
    direction, calibration = pool.harmless_halves
    assert len({*direction, *calibration}) == HARMLESS_ROWS == len(direction + calibration)
    for half in (direction, calibration):
        kinds = Counter(pool.harmless[place]["kind"] for place in half)
        assert dict(kinds) == dict.fromkeys(HARMLESS_KINDS, HARMLESS_ROWS // 4)


def test_of_many_harmless_conversations_some_of_every_kind_are_used_and_this_is_told(tmp_path, caplog):
    safe = Dataset.from_list([{"prompt": "help", "completion": "I cannot"}])
    calm = [{"prompt": f"{kind} {n}?", "completion": "Yes.", "kind": kind} for kind in "abcd" for n in range(25)]
    config = DualSelectConfig(str(tmp_path), max_length=256, report_to="none", use_cpu=True)
    with caplog.at_level(logging.INFO):
        pool = prepare_pool(safe, Dataset.from_list(calm), chatml_tokenizer(), config)
    for half in pool.harmless_halves:
        assert Counter(pool.harmless[place]["kind"] for place in half) == dict.fromkeys("abcd", HARMLESS_ROWS // 8)
    assert "using 32 of 100 harmless conversations" in caplog.text


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 63, 90, 200])
def test_the_threshold_is_read_off_references_of_all_lengths(rows):
    found = calibration_positions(list(range(10, 10 + rows)), range(10))
    assert len(found) == len(set(found)) == min(rows, CALIBRATION_REFERENCES)
    assert found == sorted(found)
    widest = -(-rows // len(found))
    assert found[0] == 10
    assert 9 + rows - found[-1] < widest
    assert max(np.diff(found), default=0) <= widest


def test_half_of_a_small_pool_is_held_out_over_its_whole_length():
    held_out = held_out_positions(range(2, 12), ["all"] * 12, ["all"], selected=2)
    assert held_out == [2, 4, 6, 8, 10]


def test_half_of_each_category_with_a_direction_is_held_out_at_most():
    categories = ["a", "a", "b", "b", "b", "c"] + ["d"] * 6
    held_out = held_out_positions(range(1, 12), categories, ["a", "b", "c"], selected=1)
    counts = Counter(categories[position] for position in held_out)
    assert (counts["a"], counts["b"], counts["c"]) == (1, 1, 0)
    assert sum(counts.values()) == 5


def test_a_large_pool_holds_the_whole_sample_out():
    assert held_out_positions(range(10, 42), ["a", "b"] * 100, ["a", "b"], selected=10) == list(range(10, 42))


def test_where_nothing_can_be_spared_every_other_reference_is_held_out():
    names = ["a", "b", "c", "d"]
    assert held_out_positions([0, 1, 2, 3], names, names, selected=4) == [0, 2]
    assert held_out_positions([0], ["a"], ["a"], selected=1) == [0]
