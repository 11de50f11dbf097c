"""Methods that keep past tasks, against plain autograd, one example at a time."""

from dataclasses import replace

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
    trainable,
    weights,
)
from safetensors.torch import save_file
from scipy.optimize import minimize

from dualselect import DualSelectConfig, DualSelectTrainer
from dualselect.errors import ConfigError, ResumeError
from dualselect.methods import METHODS
from dualselect.methods.der import Der
from dualselect.methods.er import Er
from dualselect.methods.ewc import Ewc
from dualselect.methods.gem import Gem, projected, solved_dual
from dualselect.methods.interpolation import Interpolation
from dualselect.methods.lwf import LwF
from dualselect.methods.memory import STATE_FILE, load_method_state
from dualselect.methods.method import weights_of
from dualselect.methods.mssr import Mssr
from dualselect.methods.o_lora import OLora


def task_gradient(trainer, rows):
    return gradient(trainer, [example_loss(trainer.model, row) for row in rows])


def drawn(trainer, size, seed):
    """The rows of the pool that a step draws."""
    pool = trainer.update.run.pool
    generator = torch.Generator().manual_seed(trainer.args.seed * 1_000_003 + seed)
    return [pool[place] for place in torch.randperm(len(pool), generator=generator)[:size].tolist()]


def final(method_trainer, method, **settings):
    trainer = method_trainer(method, folder=method.name, **settings)
    trainer.train()
    return weights(trainer)


def test_er_adds_the_loss_of_a_memory_batch(method_trainer):
    trainer = method_trainer(Er(memory_size=4, weight=0.7))

    def expected(step, rows):
        return task_gradient(trainer, rows) + 0.7 * task_gradient(trainer, drawn(trainer, 4, step))

    followed(trainer, expected)


def test_dualselect_that_selects_all_references_and_rows_is_er(method_trainer, tmp_path):
    er = method_trainer(Er(memory_size=4, weight=0.7), learning_rate=0.05)
    er.train()
    run = er.update.run
    settings = {name: getattr(er.args, name) for name in ("max_steps", "per_device_train_batch_size", "learning_rate")}
    config = DualSelectConfig(
        str(tmp_path / "dualselect"),
        **settings,
        optim="sgd",
        max_grad_norm=0.0,
        lr_scheduler_type=er.args.lr_scheduler_type,
        save_strategy="no",
        gradient_checkpointing=False,
        disable_tqdm=True,
        report_to="none",
        use_cpu=True,
        seed=1,
        selection_warmup_steps=0,
        reference_fraction=1.0,
        reference_contrast="none",
        reference_sides="one",
        reference_gradient="replay",
        reference_replay_size=4,
        task_token_budget="1.0",
        rho=0.7,
        rho_mode="absolute",
    )
    other = method_trainer(METHODS["sft"], folder="fresh", learning_rate=0.05)
    trainer = DualSelectTrainer(
        other.model,
        config,
        train_dataset=run.task,
        reference_dataset=run.pool,
        processing_class=other.processing_class,
    )
    trainer.train()
    torch.testing.assert_close(weights(trainer), weights(er), atol=1e-6, rtol=1e-6)


def test_gem_opposes_no_task_and_is_the_closest_such_gradient():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        update, past = torch.randn(12, generator=generator), torch.randn(3, 12, generator=generator)
        found = projected(update, past, 0.0)
        assert bool((past @ found >= -1e-4).all())
        closest, rows = update.double().numpy(), past.double().numpy()
        solver = minimize(
            lambda it, to=closest: ((it - to) ** 2).sum(),
            closest,
            constraints=[{"type": "ineq", "fun": lambda it, row=row: row @ it} for row in rows],
            options={"ftol": 1e-12, "maxiter": 500},
        )
        torch.testing.assert_close(found.double(), torch.tensor(solver.x), atol=1e-4, rtol=1e-3)


def test_the_margin_of_gem_bounds_the_dual_from_below():
    gram, products = torch.eye(2, dtype=torch.float64), torch.tensor([-1.0, 5.0], dtype=torch.float64)
    assert solved_dual(gram, products, 0.5).tolist() == [1.0, 0.5]


def test_gem_without_a_conflict_is_sequential_training_to_the_last_bit(method_trainer):
    update = torch.tensor([1.0, 2.0])
    assert projected(update, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.5) is update
    # a memory that is the task itself never opposes it
    trainer = method_trainer(Gem(memory_size=4), folder="gem")
    trainer.update._memory.gradient_at = lambda positions, loss: trainer.handed
    handed, inner = [], trainer.update.gradient

    def gradient_of_step(found, step, steps):
        trainer.handed = found
        handed.append(inner(found, step, steps) is found)
        return inner(found, step, steps)

    trainer.update.gradient = gradient_of_step
    trainer.train()
    assert handed == [True] * 4
    assert torch.equal(weights(trainer), final(method_trainer, METHODS["sft"]))


def test_gem_draws_a_batch_of_each_task(method_trainer):
    trainer = method_trainer(Gem(memory_size=2))
    seen = []
    trainer.update._members = [[0, 1, 2], [3, 4, 5]]
    inner = trainer.update._memory.gradient_at
    trainer.update._memory.gradient_at = lambda positions, loss: (seen.append(positions), inner(positions, loss))[1]
    trainer.train()
    assert len(seen) == 8
    assert all(set(batch) <= {0, 1, 2} for batch in seen[::2])
    assert all(set(batch) <= {3, 4, 5} for batch in seen[1::2])


@pytest.mark.parametrize("label_weight", [0.0, 0.5])
def test_der_keeps_the_logits_of_the_memory(method_trainer, label_weight):
    method = Der(memory_size=4, logit_weight=0.3, label_weight=label_weight, top_k=5)
    trainer = method_trainer(method, learning_rate=RATE)
    pool = trainer.update.run.pool
    with torch.no_grad():
        stored = [logits_and_targets(trainer.model, row)[0].topk(5, dim=1) for row in pool]

    def distance(row):
        now, kept = logits_and_targets(trainer.model, row)[0], stored[list(pool).index(row)]
        return (now.gather(1, kept.indices) - kept.values).square().mean()

    def expected(step, rows):
        found = task_gradient(trainer, rows)
        found = found + 0.3 * gradient(trainer, [distance(row) for row in drawn(trainer, 4, 2 * step)])
        if label_weight:
            found = found + label_weight * task_gradient(trainer, drawn(trainer, 4, 2 * step + 1))
        return found

    followed(trainer, expected)


def test_der_keeps_the_logits_of_the_time_when_a_row_was_stored(method_trainer, tmp_path):
    first = method_trainer(Der(memory_size=4, top_k=5), folder="first")
    first.train()
    second = method_trainer(Der(memory_size=4, top_k=5, earlier_run=str(tmp_path / "first")), folder="second")
    for name, (values, _) in first.update.stored.items():
        assert torch.equal(second.update.stored[name][0], values)
    with pytest.raises(ConfigError, match="top_k"):
        method_trainer(Der(top_k=6, earlier_run=str(tmp_path / "first")), folder="third")


def test_ewc_pulls_weights_back_by_their_fisher_information(method_trainer, tmp_path):
    first = method_trainer(Ewc(strength=2.0), with_pool=False, folder="first")
    first.train()
    rows = list(first.update.run.task)
    fisher = sum(gradient(first, [example_loss(first.model, row)]) ** 2 for row in rows) / len(rows)
    state, _ = load_method_state(str(tmp_path / "first"))
    torch.testing.assert_close(state["fisher"], fisher, **TOLERANCE)
    assert torch.equal(state["weights"], weights(first))

    trainer = method_trainer(Ewc(strength=2.0, earlier_run=str(tmp_path / "first")), with_pool=False, folder="second")

    def expected(step, rows):
        return task_gradient(trainer, rows) + 2.0 * fisher * (weights(trainer) - weights(first))

    anchored = weights(first)
    followed(trainer, lambda step, rows: task_gradient(trainer, rows) + 2.0 * fisher * (weights(trainer) - anchored))
    later, _ = load_method_state(str(tmp_path / "second"))
    assert bool((later["fisher"] > fisher).any())


def test_ewc_with_a_pool_protects_what_safe_responses_need(method_trainer):
    trainer = method_trainer(Ewc(), folder="safety")
    rows = list(trainer.update.run.pool)
    fisher = sum(gradient(trainer, [example_loss(trainer.model, row)]) ** 2 for row in rows) / len(rows)
    torch.testing.assert_close(trainer.update.fisher, fisher, **TOLERANCE)


def test_a_missing_state_is_named(method_trainer, tmp_path):
    with pytest.raises(ResumeError, match=STATE_FILE):
        method_trainer(Ewc(earlier_run=str(tmp_path)))


def test_lwf_distills_the_model_of_the_start(method_trainer):
    trainer = method_trainer(LwF(strength=0.5, temperature=2.0), learning_rate=RATE)
    with torch.no_grad():
        starts = {
            str(row["input_ids"]): (logits_and_targets(trainer.model, row)[0] / 2.0).log_softmax(-1)
            for row in trainer.update.run.task
        }

    def kept(row):
        start = starts[str(row["input_ids"])]
        current = (logits_and_targets(trainer.model, row)[0] / 2.0).log_softmax(-1)
        return example_loss(trainer.model, row) + 0.5 * 4.0 * (start.exp() * (start - current)).sum(-1).mean()

    followed(trainer, lambda step, rows: gradient(trainer, [kept(row) for row in rows]))


def test_o_lora_penalizes_the_overlap_with_merged_adapters(method_trainer, tmp_path):
    trainer = method_trainer(OLora(strength=0.1))
    shapes = {name: it.shape for name, it in trainer.model.named_parameters() if "lora_A" in name}
    generator = torch.Generator().manual_seed(0)
    earlier = {name: torch.randn(3, shape[1], generator=generator) for name, shape in shapes.items()}
    (tmp_path / "earlier").mkdir()
    save_file(
        {name.replace(".default", ""): value for name, value in earlier.items()},
        tmp_path / "earlier" / "adapter_model.safetensors",
    )
    run = replace(trainer.update.run, merged_adapters=[str(tmp_path / "earlier")])
    trainer.update._earlier = OLora().update(run)._earlier

    def overlap():
        now = dict(trainer.model.named_parameters())
        return 0.1 * sum((value @ now[name].T).abs().sum() for name, value in earlier.items())

    def expected(step, rows):
        penalty = torch.autograd.grad(overlap(), trainable(trainer), allow_unused=True, materialize_grads=True)
        return task_gradient(trainer, rows) + torch.cat([piece.flatten() for piece in penalty])

    followed(trainer, expected)


def test_mssr_replays_at_growing_intervals_what_is_most_likely_forgotten(method_trainer):
    trainer = method_trainer(Mssr(memory_size=2, interval=1, spacing=2.0, strength=3.0), max_steps=12)
    seen, step = [], [0]
    inner = trainer.update._memory.gradient_at

    def replayed(positions, loss):
        seen.append((step[0], positions))
        return inner(positions, loss)

    trainer.update._memory.gradient_at = replayed
    gradient_of, counted = trainer.update.gradient, trainer.update

    def count(found, now, steps):
        step[0] = now
        return gradient_of(found, now, steps)

    counted.gradient = count
    trainer.train()
    assert [at for at, _ in seen] == [0, 1, 3, 7]
    strength = counted._strength
    replays = torch.zeros(6)
    for _, positions in seen:
        replays[positions] += 1
    torch.testing.assert_close(strength, 3.0 * 2.0 ** replays.double())
    assert int(replays.max()) <= 2  # rows that were just replayed are drawn last


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_interpolation_lies_between_the_start_and_plain_fine_tuning(method_trainer, share):
    trainer = method_trainer(Interpolation(share=share), folder="between")
    start = weights(trainer)
    trainer.train()
    tuned = final(method_trainer, METHODS["sft"])
    if share == 1.0:
        assert torch.equal(weights(trainer), tuned)
    torch.testing.assert_close(weights(trainer), (1 - share) * start + share * tuned)


@pytest.mark.parametrize("method", [Er(weight=0.0), Ewc(strength=0.0), LwF(strength=0.0), OLora(strength=0.0)])
def test_a_method_of_strength_zero_is_sequential_training_to_the_last_bit(method_trainer, method):
    assert torch.equal(final(method_trainer, method), final(method_trainer, METHODS["sft"]))


def test_steps_are_recorded_for_the_comparison_by_hand(method_trainer):
    trainer = method_trainer(Er(memory_size=4))
    batches, path = recorded(trainer)
    trainer.train()
    assert (len(batches), len(path)) == (4, 5)
    assert torch.equal(weights_of(trainer.update.run), weights(trainer))
