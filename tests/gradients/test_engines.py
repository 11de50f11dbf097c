"""Every shortcut against one-example-at-a-time autograd."""

import pytest
import torch
from gradients_for_tests import (
    ALL_LINEAR,
    VOCABULARY,
    TwoUses,
    batch_of,
    lora_model,
    one_at_a_time,
    relative_error,
    squares,
    tapped,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from torch import nn
from trl.trainer.utils import add_fused_lm_head

from dualselect.errors import GradientError
from dualselect.gradients import GradientLayout, cosines
from dualselect.gradients.layout import cosines_of
from dualselect.models.losses import response_cross_entropy


def compare(model, inputs, verify=False):
    layout = GradientLayout.of(model)
    unverified = set(layout.names) if verify else set()
    losses, gradients = tapped(model, inputs, response_cross_entropy, layout, unverified=unverified)
    assert not unverified
    expected_losses, expected = one_at_a_time(model, inputs, response_cross_entropy, layout)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    for one, other in zip(gradients, expected, strict=True):
        assert relative_error(one, other) <= 1e-5
    return gradients, layout


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "smollm2"])
@pytest.mark.parametrize("targets", [("q_proj", "v_proj"), tuple(ALL_LINEAR)], ids=["qv", "all-linear"])
def test_equal_to_one_at_a_time(architecture, targets):
    compare(lora_model(architecture, targets), batch_of([9, 4, 17, 2]), verify=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lengths=st.lists(st.integers(2, 20), min_size=1, max_size=5),
    left=st.booleans(),
    checkpointing=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equal_for_any_shape(lengths, left, checkpointing, seed):
    model = lora_model(seed=seed)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    compare(model, batch_of(lengths, seed, left))


@pytest.mark.parametrize("checkpointing", [False, True])
def test_dropout_uses_the_masks_of_the_forward(checkpointing):
    model = lora_model(targets=ALL_LINEAR, dropout=0.3)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    layout, inputs = GradientLayout.of(model), batch_of([9, 4, 17, 2])
    torch.manual_seed(7)
    found = tapped(model, inputs, response_cross_entropy, layout)[1]
    torch.manual_seed(7)
    losses = response_cross_entropy(model, inputs)
    parameters = list(layout.parameters(model).values())
    for row, loss in enumerate(losses):  # one at a time, through the very same masks
        one = torch.autograd.grad(loss, parameters, retain_graph=True)
        assert relative_error(found[row], torch.cat([piece.flatten() for piece in one])) <= 1e-5


def test_lora_bias_is_covered():
    found, layout = compare(lora_model("qwen3", bias="lora_only"), batch_of([5, 8]), verify=True)
    model = tiny_model("qwen3", VOCABULARY)
    assert found.shape == (2, layout.size)
    del model


def test_plain_linear_layers_biases_tied_weights_and_second_use():
    torch.manual_seed(0)
    model, inputs = TwoUses(), batch_of([6, 6, 6])
    layout = GradientLayout.of(model)
    _, found = tapped(model, inputs, squares, layout, unverified=set(layout.names))
    _, expected = one_at_a_time(model, inputs, squares, layout)
    assert relative_error(found, expected) <= 1e-5
    assert set(layout.names) == {"first.weight", "first.bias", "second.weight", "third.bias"}


def test_trainable_weights_tied_to_an_embedding_are_refused():
    model = tiny_model("smollm2", VOCABULARY)
    with pytest.raises(GradientError, match="embed_tokens.weight"):
        tapped(model, batch_of([4]), response_cross_entropy, GradientLayout.of(model))


def test_dora_is_refused_by_name():
    model = tiny_model("llama", VOCABULARY)
    add_fused_lm_head(model)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    with pytest.raises(GradientError, match="lora_magnitude_vector"):
        tapped(model, batch_of([4]), response_cross_entropy, GradientLayout.of(model))


def test_a_layer_that_was_not_used_is_named():
    model = TwoUses()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(GradientError, match="unused.weight"):
        tapped(model, batch_of([4]), squares, GradientLayout.of(model))
    with pytest.raises(GradientError, match="unused.weight"):
        one_at_a_time(model, batch_of([4]), squares, GradientLayout.of(model))


def test_reentrant_checkpointing_does_not_go_unnoticed():
    model = lora_model()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises((GradientError, RuntimeError)):
        tapped(model, batch_of([4, 5]), response_cross_entropy, GradientLayout.of(model))


def test_verify_notices_a_use_around_the_module():
    class Around(TwoUses):
        def forward(self, input_ids, attention_mask=None, labels=None):
            return super().forward(input_ids) @ self.second.weight

    model = Around()
    with pytest.raises(GradientError, match="second.weight"):
        tapped(model, batch_of([4, 4]), squares, GradientLayout.of(model), unverified={"second.weight"})


def test_a_gradient_that_is_zero_is_not_verified_yet():
    model = lora_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    layout = GradientLayout.of(model)
    unverified = set(layout.names)
    tapped(model, batch_of([5, 8]), response_cross_entropy, layout, unverified=unverified)
    assert unverified == {name for name in layout.names if "lora_A" in name}


def test_rows_that_are_not_examples_are_refused():
    class Flattened(TwoUses):
        def forward(self, input_ids, attention_mask=None, labels=None):
            hidden = self.embedding(input_ids)
            return super().forward(input_ids) + self.third(hidden.flatten(0, 1)).view_as(hidden)

    model = Flattened()
    with pytest.raises(GradientError, match="rows are not examples"):
        tapped(model, batch_of([4, 4]), squares, GradientLayout.of(model))


def test_grad_and_hooks_are_left_alone():
    model, inputs = lora_model(), batch_of([5, 3])
    tapped(model, inputs, response_cross_entropy, GradientLayout.of(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_empty_batch_has_no_gradients():
    model = lora_model()
    layout = GradientLayout.of(model)
    assert layout.zeros(0).shape == (0, layout.size)


def test_bfloat16_autocast_stays_near_float32():
    model, inputs = lora_model(), batch_of([9, 4, 17, 2])
    layout = GradientLayout.of(model)
    exact = tapped(model, inputs, response_cross_entropy, layout)[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = verified_gradients(model, inputs, layout)
    assert relative_error(rounded, exact) < 0.05
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)  # as accelerate does
    assert torch.equal(verified_gradients(model, inputs, layout), rounded)


def verified_gradients(model, inputs, layout):
    return tapped(model, inputs, response_cross_entropy, layout, unverified=set(layout.names))[1]


def test_a_batch_split_changes_nothing():
    model, inputs = lora_model(), batch_of([9, 4, 17, 2])
    layout = GradientLayout.of(model)
    whole = tapped(model, inputs, response_cross_entropy, layout)[1]
    for start in (0, 2):
        part = {name: value[start : start + 2] for name, value in inputs.items()}
        found = tapped(model, part, response_cross_entropy, layout)[1]
        assert relative_error(found, whole[start : start + 2]) <= 1e-5


def test_layout_gives_every_parameter_its_place():
    model = lora_model()
    layout = GradientLayout.of(model)
    gradient = torch.arange(layout.size, dtype=torch.float32)
    layout.assign(model, gradient)
    back = torch.cat([parameter.grad.flatten() for parameter in layout.parameters(model).values()])
    assert torch.equal(back, gradient)


def test_cosines():
    gradients = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-3.0, -4.0], [4.0, -3.0]])
    assert cosines(gradients, torch.tensor([3.0, 4.0])).tolist() == [1.0, 0.0, -1.0, 0.0]
    assert cosines(gradients, torch.zeros(2)).tolist() == [0.0] * 4
    dots, norms = torch.tensor([[0.0, 0.0], [0.0, 25.0], [0.0, -50.0]]), torch.tensor([0.0, 5.0])
    assert cosines_of(dots, norms, torch.tensor([[0.0], [5.0], [10.0]])).tolist() == [[0, 0], [0, 1], [0, -1]]


def test_nothing_trainable_is_an_error():
    model = TwoUses().requires_grad_(False)
    with pytest.raises(GradientError, match="no trainable parameter"):
        GradientLayout.of(model)
