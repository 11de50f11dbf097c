"""Every shortcut against one-example-at-a-time autograd."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from torch import nn
from trl.trainer.utils import add_fused_lm_head

from dualselect.errors import GradientError
from dualselect.gradients import GradientLayout, cosines, sequential_gradients, tapped_gradients
from dualselect.gradients.losses import response_cross_entropy


VOCABULARY = 97
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora_model(architecture="llama", targets=("q_proj", "v_proj"), dropout=0.0, bias="none", seed=0):
    model = tiny_model(architecture, VOCABULARY, seed)
    add_fused_lm_head(model, outputs=("log_probs",))
    model = get_peft_model(model, LoraConfig(r=4, target_modules=list(targets), lora_dropout=dropout, bias=bias))
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:  # B is zero at the start, which would hide the gradient of A
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return model.train()


def batch_of(lengths, seed=0, left=False):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    inputs = {
        "input_ids": torch.zeros(len(lengths), width, dtype=torch.long),
        "attention_mask": torch.zeros(len(lengths), width, dtype=torch.long),
        "labels": torch.full((len(lengths), width), -100),
    }
    for row, length in enumerate(lengths):
        place = slice(width - length, width) if left else slice(0, length)
        ids = torch.randint(1, VOCABULARY, (length,), generator=generator)
        labels = ids.clone()
        labels[: length // 2] = -100
        inputs["input_ids"][row, place], inputs["labels"][row, place] = ids, labels
        inputs["attention_mask"][row, place] = 1
    return inputs


def relative_error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


def compare(model, inputs, verify=False):
    layout = GradientLayout.of(model)
    unverified = set(layout.names) if verify else set()
    found = tapped_gradients(model, inputs, response_cross_entropy, layout, unverified=unverified)
    assert not unverified
    expected = sequential_gradients(model, inputs, response_cross_entropy, layout)
    torch.testing.assert_close(found.losses, expected.losses, rtol=1e-5, atol=1e-6)
    for one, other in zip(found.gradients, expected.gradients, strict=True):
        assert relative_error(one, other) <= 1e-5
    return found, layout


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
    found = tapped_gradients(model, inputs, response_cross_entropy, layout).gradients
    torch.manual_seed(7)
    losses = response_cross_entropy(model, inputs)
    parameters = list(layout.parameters(model).values())
    for row, loss in enumerate(losses):  # one at a time, through the very same masks
        one = torch.autograd.grad(loss, parameters, retain_graph=True)
        assert relative_error(found[row], torch.cat([piece.flatten() for piece in one])) <= 1e-5


def test_lora_bias_is_covered():
    found, layout = compare(lora_model("qwen3", bias="lora_only"), batch_of([5, 8]), verify=True)
    model = tiny_model("qwen3", VOCABULARY)
    assert found.gradients.shape == (2, layout.size)
    del model


class TwoUses(nn.Module):
    """Plain linear layers with biases; `first` is used twice and shares its weight with `third`."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6)
        self.first, self.second, self.third = nn.Linear(6, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 6)
        self.third.weight = self.first.weight
        self.embedding.weight.requires_grad_(False)

    def forward(self, input_ids, attention_mask=None, labels=None):
        hidden = self.first(input=torch.tanh(self.first(self.embedding(input_ids))))
        return self.third(torch.tanh(self.second(hidden)))


def squares(model, inputs):
    return (model(**inputs) ** 2 * inputs["attention_mask"][..., None]).mean((1, 2))


def test_plain_linear_layers_biases_tied_weights_and_second_use():
    torch.manual_seed(0)
    model, inputs = TwoUses(), batch_of([6, 6, 6])
    layout = GradientLayout.of(model)
    found = tapped_gradients(model, inputs, squares, layout, unverified=set(layout.names))
    expected = sequential_gradients(model, inputs, squares, layout)
    assert relative_error(found.gradients, expected.gradients) <= 1e-5
    assert set(layout.names) == {"first.weight", "first.bias", "second.weight", "third.bias"}


def test_trainable_weights_tied_to_an_embedding_are_refused():
    model = tiny_model("smollm2", VOCABULARY)
    with pytest.raises(GradientError, match="embed_tokens.weight"):
        tapped_gradients(model, batch_of([4]), response_cross_entropy, GradientLayout.of(model))


def test_dora_is_refused_by_name():
    model = tiny_model("llama", VOCABULARY)
    add_fused_lm_head(model)
    model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], use_dora=True))
    with pytest.raises(GradientError, match="lora_magnitude_vector"):
        tapped_gradients(model, batch_of([4]), response_cross_entropy, GradientLayout.of(model))


def test_a_layer_that_was_not_used_is_named():
    model = TwoUses()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(GradientError, match="unused.weight"):
        tapped_gradients(model, batch_of([4]), squares, GradientLayout.of(model))
    with pytest.raises(GradientError, match="unused.weight"):
        sequential_gradients(model, batch_of([4]), squares, GradientLayout.of(model))


def test_reentrant_checkpointing_does_not_go_unnoticed():
    model = lora_model()
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": True})
    with pytest.raises((GradientError, RuntimeError)):
        tapped_gradients(model, batch_of([4, 5]), response_cross_entropy, GradientLayout.of(model))


def test_verify_notices_a_use_around_the_module():
    class Around(TwoUses):
        def forward(self, input_ids, attention_mask=None, labels=None):
            return super().forward(input_ids) @ self.second.weight

    model = Around()
    with pytest.raises(GradientError, match="second.weight"):
        tapped_gradients(model, batch_of([4, 4]), squares, GradientLayout.of(model), unverified={"second.weight"})


def test_a_gradient_that_is_zero_is_not_verified_yet():
    model = lora_model()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.zero_()
    layout = GradientLayout.of(model)
    unverified = set(layout.names)
    tapped_gradients(model, batch_of([5, 8]), response_cross_entropy, layout, unverified=unverified)
    assert unverified == {name for name in layout.names if "lora_A" in name}


def test_rows_that_are_not_examples_are_refused():
    class Flattened(TwoUses):
        def forward(self, input_ids, attention_mask=None, labels=None):
            hidden = self.embedding(input_ids)
            return super().forward(input_ids) + self.third(hidden.flatten(0, 1)).view_as(hidden)

    model = Flattened()
    with pytest.raises(GradientError, match="rows are not examples"):
        tapped_gradients(model, batch_of([4, 4]), squares, GradientLayout.of(model))


def test_grad_and_hooks_are_left_alone():
    model, inputs = lora_model(), batch_of([5, 3])
    tapped_gradients(model, inputs, response_cross_entropy, GradientLayout.of(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_empty_batch_has_no_gradients():
    model = lora_model()
    layout = GradientLayout.of(model)
    assert layout.zeros(0).shape == (0, layout.size)


def test_bfloat16_autocast_stays_near_float32():
    model, inputs = lora_model(), batch_of([9, 4, 17, 2])
    layout = GradientLayout.of(model)
    exact = tapped_gradients(model, inputs, response_cross_entropy, layout).gradients
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = verified_gradients(model, inputs, layout)
    assert relative_error(rounded, exact) < 0.05
    model.forward = torch.autocast("cpu", dtype=torch.bfloat16)(model.forward)  # as accelerate does
    assert torch.equal(verified_gradients(model, inputs, layout), rounded)


def verified_gradients(model, inputs, layout):
    return tapped_gradients(model, inputs, response_cross_entropy, layout, unverified=set(layout.names)).gradients


def test_a_batch_split_changes_nothing():
    model, inputs = lora_model(), batch_of([9, 4, 17, 2])
    layout = GradientLayout.of(model)
    whole = tapped_gradients(model, inputs, response_cross_entropy, layout).gradients
    for start in (0, 2):
        part = {name: value[start : start + 2] for name, value in inputs.items()}
        found = tapped_gradients(model, part, response_cross_entropy, layout).gradients
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


def test_nothing_trainable_is_an_error():
    model = TwoUses().requires_grad_(False)
    with pytest.raises(GradientError, match="no trainable parameter"):
        GradientLayout.of(model)
