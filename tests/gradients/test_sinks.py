"""Each sink against gradients of one example at a time, on every architecture."""

import pytest
import torch
from gradients_for_tests import ALL_LINEAR, TwoUses, batch_of, lora_model, one_at_a_time, relative_error, squares
from models_for_tests import tiny_model
from trl.trainer.utils import add_fused_lm_head

from dualselect.gradients import (
    CountSketch,
    GradientLayout,
    Materialise,
    Score,
    Sketch,
    Sum,
    Taps,
    cosines,
    run_sequentially,
)
from dualselect.models.losses import response_cross_entropy


LENGTHS = [9, 4, 17, 2, 6, 11]


def linear_model(architecture):
    """All linear layers of the blocks whole: wide enough for Gram matrices to be the cheaper way."""
    model = tiny_model(architecture, 97)
    add_fused_lm_head(model, outputs=("log_probs",))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("_proj.weight"))
    return model.train()


def two_uses():
    torch.manual_seed(0)
    return TwoUses()


CASES = {
    **{f"{name}-lora": (lambda name=name: lora_model(name, ALL_LINEAR)) for name in ("llama", "qwen3", "gemma3")},
    "smollm2-lora-bias": lambda: lora_model("smollm2", bias="lora_only"),
    **{f"{name}-linear": (lambda name=name: linear_model(name)) for name in ("llama", "qwen3", "gemma3", "smollm2")},
    "two-uses": two_uses,
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """A model, a batch, its losses, and its gradients one at a time."""
    model = CASES[request.param]()
    inputs = batch_of([6] * 6 if request.param == "two-uses" else LENGTHS)
    losses = squares if request.param == "two-uses" else response_cross_entropy
    layout = GradientLayout.of(model)
    return model, inputs, losses, layout, one_at_a_time(model, inputs, losses, layout)[1]


def directions_of(layout, count=3):
    return torch.randn(count, layout.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("engine", ["taps", "sequential"])
def test_score(case, engine):
    model, inputs, losses, layout, expected = case
    directions = directions_of(layout)
    sink = Score(layout, 6, directions)
    run(engine, model, inputs, losses, layout, [sink])
    scale = directions.norm(dim=1)[:, None] * expected.norm(dim=1)
    torch.testing.assert_close(sink.dots / scale, directions @ expected.T / scale, rtol=0, atol=1e-6)
    torch.testing.assert_close(sink.norms, expected.norm(dim=1), rtol=1e-5, atol=0)
    for index, direction in enumerate(directions):
        torch.testing.assert_close(sink.cosines[index], cosines(expected, direction), rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["taps", "sequential"])
def test_score_of_pairs(case, engine):
    model, inputs, losses, layout, expected = case
    directions, differences = directions_of(layout), expected[::2] - expected[1::2]
    sink = Score(layout, 3, directions, pairs=True)
    run(engine, model, inputs, losses, layout, [sink])
    torch.testing.assert_close(sink.norms, differences.norm(dim=1), rtol=1e-5, atol=0)
    for index, direction in enumerate(directions):
        torch.testing.assert_close(sink.cosines[index], cosines(differences, direction), rtol=0, atol=1e-6)


@pytest.mark.parametrize("engine", ["taps", "sequential"])
@pytest.mark.parametrize("sums", [1, 3])
def test_sum(case, engine, sums):
    model, inputs, losses, layout, expected = case
    weights = torch.randn(sums, 6, generator=torch.Generator().manual_seed(2))
    weights[:, 1] = 0
    sink = Sum(layout, weights)
    run(engine, model, inputs, losses, layout, [sink])
    assert sink.total.shape == (sums, layout.size)
    assert relative_error(sink.total, weights @ expected) <= 1e-5


@pytest.mark.parametrize("engine", ["taps", "sequential"])
def test_materialise_in_both_precisions(case, engine):
    model, inputs, losses, layout, expected = case
    whole, half = Materialise(layout, 6), Materialise(layout, 6, dtype=torch.bfloat16)
    run(engine, model, inputs, losses, layout, [whole, half])
    assert relative_error(whole.gradients, expected) <= 1e-5
    assert half.gradients.dtype == torch.bfloat16
    assert relative_error(half.gradients.float(), expected) <= 0.01


@pytest.mark.parametrize("engine", ["taps", "sequential"])
def test_sketch(case, engine):
    model, inputs, losses, layout, expected = case
    count_sketch = CountSketch(layout.size, 64, seed=0, device=layout.device)
    sink = Sketch(count_sketch, 6)
    run(engine, model, inputs, losses, layout, [sink])
    assert relative_error(sink.sketches, count_sketch(expected)) <= 1e-5


def test_a_zero_weight_removes_an_example_that_is_not_finite():
    model = lora_model()
    layout, inputs = GradientLayout.of(model), batch_of(LENGTHS)
    expected = one_at_a_time(model, inputs, response_cross_entropy, layout)[1]

    def losses(model, inputs):
        return response_cross_entropy(model, inputs) * torch.tensor([1.0, 1.0, torch.nan, 1.0, 1.0, 1.0])

    weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.0, 3.0])
    both = torch.stack([weights, weights.flip(0) * (weights != 0)])
    one, two, score = Sum(layout, weights), Sum(layout, both), Score(layout, 6)
    Taps(model, layout).run(model, inputs, losses, [one, two, score])
    assert relative_error(one.total[0], weights @ expected) <= 1e-5
    assert relative_error(two.total, both @ expected) <= 1e-5
    assert score.norms.isfinite().tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_checkpointing_does_not_make_a_layer_count_twice(checkpointing):
    model = lora_model(targets=ALL_LINEAR)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    layout, inputs, passes = GradientLayout.of(model), batch_of(LENGTHS), []

    class Passes(Score):
        def collect(self, layer_pass):
            passes.append(layer_pass.partial)
            super().collect(layer_pass)

    Taps(model, layout).run(model, inputs, response_cross_entropy, [Passes(layout, 6)])
    assert passes
    assert not any(passes)


def test_both_ways_to_a_norm_are_taken_and_agree():
    model = linear_model("llama")
    layout, ways = GradientLayout.of(model), []

    class Both(Score):
        def collect(self, layer_pass):
            ways.append(layer_pass.gram_is_cheaper)
            gram, product = layer_pass.squared_weight_norms(), layer_pass.weight_gradients.flatten(1).square().sum(1)
            torch.testing.assert_close(gram, product, rtol=1e-4, atol=1e-12)

    for lengths in ([3, 4, 2, 3, 4, 2], [40] * 6):
        Taps(model, layout).run(model, batch_of(lengths), response_cross_entropy, [Both(layout, 6)])
    assert set(ways) == {True, False}


def run(engine, model, inputs, losses, layout, sinks):
    if engine == "taps":
        Taps(model, layout).run(model, inputs, losses, sinks)
    else:
        run_sequentially(model, inputs, losses, layout, sinks)
