"""The update rule of each method against plain autograd, one example at a time."""

import math

import pytest
import torch
from methods_by_hand import (
    RATE,
    TOLERANCE,
    example_loss,
    followed,
    gradient,
    logits_and_targets,
    recorded,
    weights,
)

from dualselect.methods import METHODS
from dualselect.methods.a_gem import AGem
from dualselect.methods.constrained_sft import ConstrainedSft
from dualselect.methods.ema import Ema
from dualselect.methods.lisa import Lisa
from dualselect.methods.method import weights_of
from dualselect.methods.safegrad import SafeGrad
from dualselect.methods.sft import SftTuned
from dualselect.selection import project_conflict


def pool_order(trainer, size):
    """The pool's rows batch by batch, as many as a run needs."""
    generator = torch.Generator().manual_seed(trainer.args.seed)
    rows = len(trainer.update.run.pool)
    order = [place for _ in range(20) for place in torch.randperm(rows, generator=generator).tolist()]
    return [
        [trainer.update.run.pool[place] for place in order[start : start + size]]
        for start in range(0, 10 * size, size)
    ]


def test_sft_minimizes_the_mean_over_examples(method_trainer):
    trainer = method_trainer(METHODS["sft"])
    lengths = {sum(label != -100 for label in row["labels"]) for row in trainer.train_dataset}
    assert len(lengths) > 1  # else the mean over tokens would be the same
    followed(trainer, lambda step, rows: gradient(trainer, [example_loss(trainer.model, row) for row in rows]))


@pytest.mark.parametrize("split", [1, 2])
def test_the_split_of_a_step_does_not_change_it(method_trainer, split):
    whole = method_trainer(METHODS["sft"], folder="whole")
    whole.train()
    parts = method_trainer(
        METHODS["sft"], folder="parts", per_device_train_batch_size=4 // split, gradient_accumulation_steps=split
    )
    parts.train()
    torch.testing.assert_close(weights(parts), weights(whole), **TOLERANCE)


def test_a_gem_projects_only_what_opposes_the_memory(method_trainer):
    trainer = method_trainer(AGem(memory_size=4), max_steps=9)
    memory, projected = pool_order(trainer, 4), []

    def expected(step, rows):
        task = gradient(trainer, [example_loss(trainer.model, row) for row in rows])
        safe = gradient(trainer, [example_loss(trainer.model, row) for row in memory[step]])
        dot = float(task @ safe)
        projected.append(dot < 0)
        return task - dot / float(safe @ safe) * safe if dot < 0 else task

    followed(trainer, expected)
    assert any(projected) or all(not one for one in projected)


def test_the_projection_leaves_nothing_of_the_conflict_and_agreement_alone():
    generator = torch.Generator().manual_seed(0)
    update, other = torch.randn(2, 50, generator=generator)
    other = other if update @ other < 0 else -other
    assert abs(float(project_conflict(update, other) @ other)) < 1e-5
    assert torch.equal(project_conflict(update, -other), update)
    assert torch.equal(project_conflict(update, torch.zeros(50)), update)


def test_a_memory_against_the_task_is_projected_out(method_trainer, monkeypatch):
    # the memory of a random model need not oppose its task, so some vector is handed over that does
    trainer = method_trainer(AGem(memory_size=4), max_steps=2)
    noise = torch.randn(len(weights(trainer)), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(trainer.update._memory, "gradient", lambda loss: noise - 10.0 * weights_of(trainer.update.run))

    def expected(step, rows):
        task = gradient(trainer, [example_loss(trainer.model, row) for row in rows])
        memory = noise - 10.0 * weights(trainer)
        seen.append(float(task @ memory) < 0)
        return task - min(0.0, float(task @ memory)) / float(memory @ memory) * memory

    seen = []
    followed(trainer, expected)
    assert any(seen)


def test_safegrad_projects_against_the_divergence_and_adds_it(method_trainer):
    trainer = method_trainer(SafeGrad(alignment_weight=0.5, memory_size=4), learning_rate=RATE, max_steps=5)
    memory, seen = pool_order(trainer, 4), []

    def divergence(row):
        with torch.no_grad(), trainer.model.disable_adapter():
            start = torch.softmax(logits_and_targets(trainer.model, row)[0], -1)
        now = torch.log_softmax(logits_and_targets(trainer.model, row)[0], -1)
        return (start * (start.log() - now)).sum(-1).mean()

    def expected(step, rows):
        task = gradient(trainer, [example_loss(trainer.model, row) for row in rows])
        if step == 0:
            return task
        safe = gradient(trainer, [divergence(row) for row in memory[step - 1]])
        dot, length = float(task @ safe), float(safe @ safe)
        seen.append(length)
        kept = task - dot / length * safe if dot < 0 else task
        return kept + 0.5 * safe

    followed(trainer, expected)
    assert min(seen) > 1e-8  # far from rounding, so that the test is one


def test_ema_saves_the_running_mean_of_the_path(method_trainer):
    trainer = method_trainer(Ema(decay=0.8), max_steps=5)
    path, final = followed(
        trainer, lambda step, rows: gradient(trainer, [example_loss(trainer.model, row) for row in rows])
    )
    average = path[0]
    for after in path[1:]:
        average = 0.8 * average + 0.2 * after
    torch.testing.assert_close(final, average, **TOLERANCE)
    assert not torch.allclose(final, path[-1], atol=1e-6)


def test_lisa_takes_turns_and_pulls_to_the_last_switch(method_trainer):
    trainer = method_trainer(
        Lisa(alignment_steps=1, task_steps=2, proximal_weight=3.0, proximal_start=0.3),
        max_steps=-1,
        num_train_epochs=2,
    )
    pool = {tuple(row["input_ids"]) for row in trainer.update.run.pool}
    task_rows_seen, states = [], []
    # 12 task rows are 3 steps of 4, so that the second of three turns goes over the end of the first epoch
    anchors = [0, 1, 1, 3, 4, 4, 6, 7, 7]
    path_so_far = []

    def expected(step, rows):
        states.append("pool" if all(tuple(row["input_ids"]) in pool for row in rows) else "task")
        if states[-1] == "task":
            task_rows_seen.extend(tuple(row["input_ids"]) for row in rows)
        now = weights(trainer)
        path_so_far.append(now)
        found = gradient(trainer, [example_loss(trainer.model, row) for row in rows])
        return found if step < 3 else found + 3.0 * (now - path_so_far[anchors[step]])

    followed(trainer, expected)
    assert states == ["pool", "task", "task"] * 3
    assert sorted(task_rows_seen[:12]) == sorted(task_rows_seen[12:])
    assert len(set(task_rows_seen)) == 12
    assert task_rows_seen[:12] != task_rows_seen[12:]


def test_lisa_counts_optimizer_steps_and_not_micro_batches(method_trainer):
    lisa = Lisa(alignment_steps=1, task_steps=2, proximal_start=0.0)
    settings = {"max_steps": -1, "num_train_epochs": 1}
    whole = method_trainer(lisa, folder="whole", **settings)
    whole.train()
    parts = method_trainer(
        lisa, folder="parts", per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings
    )
    parts.train()
    assert parts.state.global_step == whole.state.global_step == 5
    torch.testing.assert_close(weights(parts), weights(whole), **TOLERANCE)


def test_lisa_ends_at_max_steps(method_trainer):
    trainer = method_trainer(Lisa(alignment_steps=1, task_steps=2), max_steps=11)
    batches, _ = recorded(trainer)
    trainer.train()
    pool = {tuple(row["input_ids"]) for row in trainer.update.run.pool}
    states = ["pool" if all(tuple(row["input_ids"]) in pool for row in rows) else "task" for rows in batches]
    assert states == (["pool", "task", "task"] * 4)[:11]
    assert trainer.state.global_step == trainer.state.max_steps == 11


def test_constrained_sft_holds_the_first_tokens_tighter(method_trainer):
    trainer = method_trainer(ConstrainedSft(), learning_rate=RATE, max_steps=6)
    betas = [0.5, 2.0, 2.0, 2.0, 2.0]

    def loss(row):
        with torch.no_grad(), trainer.model.disable_adapter():
            logits, targets = logits_and_targets(trainer.model, row)
            start = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        logits, targets = logits_and_targets(trainer.model, row)
        now = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
        beta = torch.tensor((betas + [0.1] * len(now))[: len(now)])
        return (-(2.0 / beta) * torch.nn.functional.logsigmoid(beta * (now - start))).mean()

    followed(trainer, lambda step, rows: gradient(trainer, [loss(row) for row in rows]))


def test_constrained_sft_starts_as_sft(method_trainer):
    constrained = method_trainer(ConstrainedSft(), max_steps=1, folder="constrained")
    plain = method_trainer(METHODS["sft"], max_steps=1, folder="plain")
    constrained.train()
    plain.train()
    torch.testing.assert_close(weights(constrained), weights(plain), **TOLERANCE)
    losses = [trainer.state.log_history[-1]["train_loss"] for trainer in (constrained, plain)]
    assert math.isclose(*losses, rel_tol=1e-5)


def test_tuned_sft_scores_the_rows_it_did_not_train_on(method_trainer):
    trainer = method_trainer(SftTuned(held_out=0.25), folder="run")
    trained_on = {tuple(row["input_ids"]) for row in trainer.train_dataset}
    held = [row for row in trainer.update.run.task if tuple(row["input_ids"]) not in trained_on]
    assert (len(trained_on), len(held)) == (9, 3)
    trainer.train()
    found = [entry["validation_loss"] for entry in trainer.state.log_history if "validation_loss" in entry]
    with torch.no_grad():
        expected = torch.stack([example_loss(trainer.model.eval(), row) for row in held]).mean()
    assert math.isclose(*found, float(expected), rel_tol=1e-5)
    assert SftTuned().candidate().held_out == 0.1
    assert SftTuned(held_out=0.25).candidate().held_out == 0.25
