"""What methods do to the rows of a run, what they need, and what they refuse."""

import itertools
from dataclasses import replace

import pytest
import torch
from rows_for_tests import conversation_rows, safe_rows

from dualselect.errors import ConfigError, DataError
from dualselect.methods import METHODS
from dualselect.methods.lisa import Lisa
from dualselect.methods.oracle import Oracle
from dualselect.methods.random_rows import RandomRows
from dualselect.methods.safe_mix import SafeMix


def mixed_rows(count=12):
    rows = conversation_rows(count)
    return rows.remove_columns("kind").add_column("kind", ["risky" if n % 3 == 0 else "task" for n in range(count)])


def token_count(rows):
    return sum(label != -100 for row in rows for label in row["labels"])


def test_the_oracle_trains_on_every_row_but_the_risky(method_trainer):
    trainer = method_trainer(METHODS["oracle"], task=mixed_rows())
    kept = method_trainer(METHODS["sft"], task=mixed_rows().filter(lambda row: row["kind"] != "risky"), folder="other")
    assert list(trainer.train_dataset["input_ids"]) == list(kept.train_dataset["input_ids"])
    assert len(trainer.train_dataset) == 8


def test_the_oracle_refuses_rows_without_labels(method_trainer):
    with pytest.raises(DataError, match="12 of kind task.*risky_kind"):
        method_trainer(METHODS["oracle"])
    assert len(method_trainer(Oracle(risky_kind="task"), task=mixed_rows()).train_dataset) == 4


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9, 1.0])
def test_random_keeps_a_share_of_the_tokens_to_within_a_row(method_trainer, share):
    whole = method_trainer(METHODS["sft"])
    longest = max(token_count([row]) for row in whole.train_dataset)
    wanted = share * token_count(whole.train_dataset)
    kept = token_count(method_trainer(RandomRows(token_share=share), folder="random").train_dataset)
    assert wanted <= kept < wanted + longest


def test_random_depends_on_the_seed_and_nothing_else(method_trainer):
    method = RandomRows(token_share=0.5)
    first, again, other = (
        list(method_trainer(method, seed=seed, folder=f"{n}").train_dataset["input_ids"])
        for n, seed in enumerate((1, 1, 2))
    )
    assert first == again
    assert first != other


def test_safe_mix_adds_the_pool_to_the_task(method_trainer):
    trainer = method_trainer(METHODS["safe_mix"])
    assert len(trainer.train_dataset) == 18
    texts = [tuple(row) for row in trainer.train_dataset["input_ids"]]
    assert set(map(tuple, trainer.update.run.pool["input_ids"])) <= set(texts)
    part = method_trainer(SafeMix(pool_rows=2), folder="part")
    assert len(part.train_dataset) == 14


@pytest.mark.parametrize("name", ["safe_mix", "a_gem", "safegrad", "lisa"])
def test_a_method_that_needs_a_pool_says_so(method_trainer, name):
    with pytest.raises(ConfigError, match=f"{name} needs a pool"):
        method_trainer(METHODS[name], with_pool=False)


def test_all_states_of_lisa_are_whole_steps():
    lisa = Lisa(alignment_steps=2, task_steps=3)
    order = lisa.order(20, 25, 4, 1, torch.Generator().manual_seed(0))
    states = ["pool" if place >= 20 else "task" for place in order]
    assert states == ["pool"] * 8 + ["task"] * 12 + ["pool"] * 8 + ["task"] * 8
    assert sorted(place for place in order if place < 20) == list(range(20))
    pool = [place for place in order if place >= 20]
    assert set(pool) == set(range(20, 25))
    switches = lisa.switches()
    assert [next(switches) for _ in range(10)] == [True, False, True, False, False] * 2


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        (1, [("pool", 100), ("task", 50)]),
        (1.5, [("pool", 100), ("task", 75)]),
        (2, [("pool", 100), ("task", 100)]),
        (20, [("pool", 100), ("task", 900), ("pool", 100), ("task", 100)]),
    ],
)
def test_a_state_of_lisa_goes_on_in_the_next_epoch(epochs, expected):
    order = Lisa().order(50, 55, 1, epochs, torch.Generator().manual_seed(0))
    states = itertools.groupby("pool" if place >= 50 else "task" for place in order)
    assert [(state, len(list(steps))) for state, steps in states] == expected
    task = [place for place in order if place < 50]
    for start in range(0, int(epochs) * 50, 50):
        assert sorted(task[start : start + 50]) == list(range(50))
    assert len(set(task)) == 50


def test_a_run_of_lisa_that_would_only_align_is_refused(method_trainer):
    with pytest.raises(ConfigError, match=r"lisa: max_steps 4 ends before the first step on .*alignment_steps"):
        method_trainer(Lisa(alignment_steps=4))
    assert method_trainer(Lisa(alignment_steps=3), folder="one").update.run.rows_per_step == 4


def test_the_turns_of_lisa_are_of_the_rows_that_they_name(method_trainer):
    trainer = method_trainer(Lisa(alignment_steps=1), shuffle_dataset=True)
    pool = {tuple(row) for row in trainer.update.run.pool["input_ids"]}
    drawn = [tuple(trainer.train_dataset[place]["input_ids"]) in pool for place in trainer._get_train_sampler()]
    assert drawn == [True] * 4 + [False] * 12


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("random", "token_share", 0),
        ("random", "token_share", 1.5),
        ("safe_mix", "pool_rows", 0),
        ("a_gem", "memory_size", 0),
        ("a_gem", "memory_size", 2.5),
        ("safegrad", "alignment_weight", -1.0),
        ("safegrad", "alignment_weight", float("nan")),
        ("ema", "decay", 1),
        ("ema", "decay", 1.1),
        ("lisa", "alignment_steps", 0),
        ("lisa", "task_steps", "many"),
        ("lisa", "proximal_weight", True),
        ("constrained_sft", "later_beta", 0.0),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, setting, value):
    with pytest.raises(ConfigError, match=f"{name}: {setting}"):
        replace(METHODS[name], **{setting: value})


def test_every_method_says_where_it_is_from_and_what_it_needs():
    assert {name for name, method in METHODS.items() if not method.needs_pool} == {
        "sft", "sft_tuned", "oracle", "random", "ema", "constrained_sft", "ewc", "lwf", "o_lora", "osft",
        "interpolation",
    }  # fmt: skip
    for name, method in METHODS.items():
        assert method.name == name
        assert method.paper
        assert type(method).__doc__
    assert "reference_logits" in METHODS["safegrad"].needs
    assert METHODS["sft_tuned"].tuned_by == "validation_loss"


def test_references_and_tasks_share_no_row():
    # what the tests above rest on
    assert not {row["id"] for row in conversation_rows(12)} & {row["id"] for row in safe_rows(6)}
