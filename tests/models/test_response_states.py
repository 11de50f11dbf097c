"""Representations of responses."""

import pytest
import torch
from models_for_tests import ARCHITECTURES, tiny_model
from torch import nn
from trl.trainer.utils import add_fused_lm_head

from dualselect.errors import ModelError
from dualselect.models.losses import response_cross_entropy
from dualselect.models.response_states import DEPTH, ResponseStates, mean_over_response


READ = round(DEPTH * 2) - 1
"""The layer of two that is read."""
ROWS = [([5, 6, 7, 8, 9], [-100, -100, 7, 8, 9]), ([5, 6, 7], [-100, 6, 7]), ([9, 8, 7, 6], [-100, -100, -100, 6])]


def padded():
    def tensors(rows, value):
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, value)

    ids, labels = zip(*ROWS, strict=True)
    mask = tensors([[1] * len(row) for row in ids], 0)
    return {"input_ids": tensors(ids, 0), "labels": tensors(labels, -100), "attention_mask": mask}


def packed():
    ids = [token for row, _ in ROWS for token in row]
    labels = [label for _, row in ROWS for label in row]
    positions = [place for row, _ in ROWS for place in range(len(row))]
    return {
        name: torch.tensor([values])
        for name, values in (("input_ids", ids), ("labels", labels), ("position_ids", positions))
    }


def model_of(architecture):
    model = tiny_model(architecture, 64).eval()
    add_fused_lm_head(model)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("batch", [padded, packed])
def test_each_row_is_the_mean_of_its_own_response(architecture, batch):
    model = model_of(architecture)
    states = ResponseStates(model)
    with torch.no_grad():
        losses = states.during(response_cross_entropy)(model, batch())
        found = states.take()
        for row, (ids, labels) in enumerate(ROWS):
            kept = []
            hook = model.model.layers[READ].register_forward_hook(
                lambda _m, _a, out, kept=kept: kept.append(out[0] if isinstance(out, tuple) else out)
            )
            model(torch.tensor([ids]))
            hook.remove()
            wanted = kept[0][0, torch.tensor(labels) != -100].mean(0)
            torch.testing.assert_close(found[row], wanted, atol=1e-5, rtol=1e-5)
    assert losses.shape == (3,)


def test_the_losses_are_the_same_and_nothing_stays_behind():
    model = model_of("llama")
    states, batch = ResponseStates(model), padded()
    torch.testing.assert_close(
        states.during(response_cross_entropy)(model, batch), response_cross_entropy(model, batch)
    )
    assert len(states.take()) == 3
    assert not model.model.layers[READ]._forward_hooks


def test_a_row_without_a_response_is_zero():
    batch = {"labels": torch.full((1, 4), -100)}
    assert mean_over_response(torch.ones(1, 4, 2), batch).tolist() == [[0.0, 0.0]]


def test_a_model_without_decoder_layers_is_refused_with_what_to_write():
    with pytest.raises(ModelError, match="task_token_budget: 0.9"):
        ResponseStates(nn.Linear(2, 2))
