"""Packed rows: each segment is an example, with the gradient that it has alone."""

import pytest
import torch
from gradients_for_tests import ALL_LINEAR, VOCABULARY, batch_of, lora_model, one_at_a_time, relative_error

from dualselect.gradients import GradientLayout, Materialise, Score, Sum, Taps, cosines
from dualselect.models.losses import response_cross_entropy
from dualselect.models.segments import Segments, examples_of, supervised_counts


LENGTHS = [9, 4, 17, 2, 6]


def packed(inputs):
    """A padded batch as one row of segments, as TRL's collator makes it; the first label of each is not supervised."""
    rows = [mask.bool() for mask in inputs["attention_mask"]]
    ids = [row[mask] for row, mask in zip(inputs["input_ids"], rows, strict=True)]
    labels = [row[mask].clone() for row, mask in zip(inputs["labels"], rows, strict=True)]
    for one in labels:
        one[0] = -100
    return {
        "input_ids": torch.cat(ids)[None],
        "labels": torch.cat(labels)[None],
        "position_ids": torch.cat([torch.arange(len(one)) for one in ids])[None],
    }


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "smollm2"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_segment_has_the_gradient_of_the_example_alone(architecture, checkpointing):
    model = lora_model(architecture, ALL_LINEAR)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    padded = batch_of(LENGTHS)
    layout, inputs = GradientLayout.of(model), packed(padded)
    expected_losses, expected = one_at_a_time(model, padded, response_cross_entropy, layout)
    direction, weights = torch.randn(layout.size), torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0])
    kept, score, total = Materialise(layout, 5), Score(layout, 5, direction), Sum(layout, weights)
    unverified = set(layout.names)
    losses = Taps(model, layout).run(
        model, inputs, response_cross_entropy, [kept, score, total], unverified=unverified
    )
    assert not unverified
    torch.testing.assert_close(losses, expected_losses, rtol=1e-5, atol=1e-6)
    for one, other in zip(kept.gradients, expected, strict=True):
        assert relative_error(one, other) <= 1e-5
    torch.testing.assert_close(score.norms, expected.norm(dim=1), rtol=1e-5, atol=0)
    torch.testing.assert_close(score.cosines[0], cosines(expected, direction), rtol=0, atol=1e-6)
    assert relative_error(total.total[0], weights @ expected) <= 1e-5
    sequential_losses, sequential = one_at_a_time(model, inputs, response_cross_entropy, layout, examples=5)
    torch.testing.assert_close(sequential_losses, expected_losses, rtol=1e-5, atol=1e-6)
    assert relative_error(sequential, expected) <= 1e-5


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "smollm2"])
def test_a_changed_segment_moves_no_other(architecture, attention):
    model = lora_model(architecture)
    model.get_base_model().set_attn_implementation(attention)
    layout, inputs = GradientLayout.of(model), packed(batch_of(LENGTHS))
    changed = {name: value.clone() for name, value in inputs.items()}
    changed["input_ids"][0, 13:30] = (changed["input_ids"][0, 13:30] + 5) % VOCABULARY
    before, after = Materialise(layout, 5), Materialise(layout, 5)
    for batch, sink in ((inputs, before), (changed, after)):
        Taps(model, layout).run(model, batch, response_cross_entropy, [sink])
    errors = [relative_error(one, other) for one, other in zip(after.gradients, before.gradients, strict=True)]
    assert errors[2] > 0.1
    assert max(errors[:2] + errors[3:]) <= 1e-6


def test_segments_are_counted_and_cut_out():
    inputs = packed(batch_of(LENGTHS))
    assert Segments.of(inputs).sizes == tuple(LENGTHS)
    assert Segments.of(batch_of(LENGTHS)) is None
    assert supervised_counts(inputs).tolist() == supervised_counts(batch_of(LENGTHS)).tolist()
    kept = examples_of(inputs, torch.tensor([1, 4]))
    assert Segments.of(kept).sizes == (4, 6)
    assert (
        kept["input_ids"][0].tolist() == inputs["input_ids"][0, 9:13].tolist() + inputs["input_ids"][0, 32:].tolist()
    )
