"""Steps and directions against torch's own and against one example at a time."""

import pytest
import torch
from gradients_for_tests import one_at_a_time

from dualselect.data.token_columns import token_rows
from dualselect.diagnostic.diagnosing import select
from dualselect.diagnostic.pool import reference_directions, score_pool
from dualselect.diagnostic.probing import Probing
from dualselect.diagnostic.rows import TaskBatch, read_rows, tokenize_rows
from dualselect.diagnostic.subject import Subject
from dualselect.evaluation.store import Store
from dualselect.gradients import CountSketch, cosines
from dualselect.models.losses import response_cross_entropy, response_kl


@pytest.fixture
def studied(settings):
    made = settings(reference_contrast="none")
    subject = Subject.of(made.run)
    return subject, tokenize_rows(read_rows(made), subject.tokenizer, made.run.training), made


def one_by_one(subject, rows, positions):
    """Losses and gradients of rows."""
    return one_at_a_time(subject.model, subject.batch(rows, positions), response_cross_entropy, subject.layout)


def test_steps_are_those_of_an_optimizer_over_the_parameters(studied):
    subject, rows, _ = studied
    twin = Subject.of(studied[2].run)
    parameters = [one for one in twin.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.0)
    state = subject.state()
    for positions in ([0, 1, 2], [9, 10], [4]):
        state = subject.step(state, subject.mean_gradient(rows.task.tokens, positions))
        optimizer.zero_grad()
        response_cross_entropy(twin.model, twin.batch(rows.task.tokens, positions)).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    assert state.steps == 3
    torch.testing.assert_close(subject.state().weights, twin.state().weights, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("max_grad_norm", [0.0, -1.0])
def test_a_norm_that_is_not_above_zero_clips_nothing(settings, max_grad_norm):
    subject = Subject.of(settings(max_grad_norm=max_grad_norm).run)
    state = subject.state()
    moved = subject.step(state, torch.full_like(state.weights, 3.0))
    torch.testing.assert_close(moved.first_moment, torch.full_like(state.weights, 0.3))


def test_mixed_precision_is_in_the_forward_and_nowhere_else(settings, files, monkeypatch):
    subject = Subject.of(settings(bf16=True).run)
    seen = []

    def watched(of, where):
        def call(*given):
            seen.append((where, torch.is_autocast_enabled("cpu")))
            return of(*given)

        return call

    layer = subject.model.get_base_model().model.layers[0]
    layer.register_forward_pre_hook(lambda *_: seen.append(("model", torch.is_autocast_enabled("cpu"))))
    for loss in (response_cross_entropy, response_kl):
        monkeypatch.setattr(f"dualselect.diagnostic.subject.{loss.__name__}", watched(loss, "loss"))
    rows = tokenize_rows(read_rows(settings()), subject.tokenizer, subject.config).task.tokens

    def gradients(rows, positions):
        subject.run(token_rows(rows, positions), [])

    for measured in (gradients, subject.losses, subject.divergences):
        seen.clear()
        measured(rows, [0, 1])
        assert dict(seen) == {"loss": False, "model": True}


def test_the_pool_is_scored_against_all_directions_and_its_directions_are_weighted_means(studied, tmp_path):
    subject, rows, made = studied
    pool, size = rows.pool.tokens, len(rows.pool.tokens)
    state = subject.step(subject.state(), subject.mean_gradient(rows.task.tokens, [0, 9, 18]))
    losses, gradients = one_by_one(subject, pool, range(size))
    directions = torch.stack([one_by_one(subject, rows.task.tokens, [row])[1][0] for row in (3, 12, 21)])
    with Store.opened(tmp_path / "store.jsonl") as store:
        numbers = score_pool(subject, rows, directions, store, sketch=None)
    for row, direction in zip(numbers.cosines, directions, strict=True):
        torch.testing.assert_close(row.float(), cosines(gradients, direction), rtol=1e-3, atol=1e-5)
    with subject.start_model():
        before = subject.losses(pool, range(size))
    torch.testing.assert_close(numbers.preservation_losses.float(), losses - before, rtol=1e-3, atol=1e-5)
    choices = [some[0] for some in select(made, rows, numbers, 2).values()]
    found = reference_directions(subject, pool, choices)
    for direction, choice in zip(found, choices, strict=True):
        torch.testing.assert_close(direction, choice.weights.float() @ gradients, rtol=1e-3, atol=1e-5)
    subject.load(state)


def test_sketched_cosines_come_with_their_error(studied, tmp_path):
    subject, rows, _ = studied
    direction = subject.mean_gradient(rows.task.tokens, [0, 1])[None]
    sketch = CountSketch(subject.layout.size, 512, seed=0, device=torch.device("cpu"))
    with Store.opened(tmp_path / "exact.jsonl") as store:
        exact = score_pool(subject, rows, direction, store, sketch=None).cosines
    with Store.opened(tmp_path / "sketched.jsonl") as store:
        numbers = score_pool(subject, rows, direction, store, sketch=sketch)
    apart = (numbers.cosines - exact).abs()
    assert 0 < apart.mean() < 0.1
    assert float(numbers.sketch_errors.mean()) == pytest.approx(float(apart.mean()), rel=1e-3)
    assert numbers.sketch_errors.shape == apart.shape == (1, len(rows.pool.tokens))
    torch.testing.assert_close(numbers.exact_sample, exact, rtol=1e-4, atol=1e-6)


def test_what_was_sketched_is_read_back_with_its_exact_sample(studied, tmp_path):
    subject, rows, _ = studied
    direction = subject.mean_gradient(rows.task.tokens, [0, 1])[None]
    sketch = CountSketch(subject.layout.size, 512, seed=0, device=torch.device("cpu"))
    found = []
    for _ in range(2):
        with Store.opened(tmp_path / "sketched.jsonl") as store:
            found.append(score_pool(subject, rows, direction, store, sketch=sketch))
    for name in ("cosines", "sketch_errors", "exact_sample"):
        assert torch.equal(getattr(found[0], name), getattr(found[1], name)), name


def test_an_unchanged_model_has_moved_no_probe_and_each_update_begins_at_the_same_place(studied):
    subject, rows, _ = studied
    probing = Probing(subject, rows, subject.state(), updates=2)
    assert probing.before_updates() == pytest.approx([0.0] * 4, abs=1e-6)
    batch, direction = TaskBatch("sums", [0, 1, 2]), subject.mean_gradient(rows.task.tokens, [0, 1, 2])
    first = probing.measure(batch, direction, None, "none")
    assert min(first["kl"]) > 1e-6
    assert probing.measure(batch, direction, -direction, "add") != first
    assert probing.measure(batch, direction, None, "none") == first
    assert probing.before_updates() == pytest.approx([0.0] * 4, abs=1e-6)
