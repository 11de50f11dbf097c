"""Whether batching changes gradients: no for a causal model, yes for one whose rows see each other."""

import pytest
from rows_for_tests import small_trainer

from dualselect.preflight.batching import check_batching, check_engine, move_zeros
from dualselect.training.references import without_dropout


@pytest.fixture(params=["llama", "gemma3"])
def case(request, tmp_path):
    trainer = small_trainer(tmp_path, architecture=request.param)
    rows = trainer.train_dataset.select_columns(["input_ids", "labels"]).select(range(4))
    move_zeros(trainer.model)
    return trainer.model, trainer.data_collator(list(rows))


def test_padding_changes_nothing(case):
    model, inputs = case
    with without_dropout(model):
        found = check_batching(model, inputs, rounded=False)
        check_engine("taps", model, inputs)
    assert len(set(found.lengths)) > 1
    assert len(found.differences) == 4
    assert found.largest < 1e-4
    assert not found.changes


def test_rows_that_see_each_other_are_found(case):
    model, inputs = case
    layer = model.get_base_model().model.layers[0].mlp
    layer.register_forward_hook(lambda _module, _args, output: output + output.mean(0, keepdim=True))
    with without_dropout(model):
        found = check_batching(model, inputs, rounded=False)
    assert found.changes
    assert found.largest > 0.01


def test_every_gradient_is_compared(case):
    model, _ = case
    assert all(parameter.any() for parameter in model.parameters() if parameter.requires_grad)


def test_a_gradient_that_is_not_finite_is_a_change(case):
    model, inputs = case
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(float("inf"))
    assert check_batching(model, inputs, rounded=True).changes
