"""What the taps see, counted."""

import pytest
from models_for_tests import tiny_model
from peft import LoraConfig, get_peft_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.preflight.coverage import coverage


@pytest.mark.parametrize(
    ("lora", "kind"),
    [
        ({}, None),
        ({"use_dora": True}, "DoraLinearLayer"),
        ({"modules_to_save": ["embed_tokens"]}, "Embedding"),
        ({"target_modules": ["embed_tokens", "q_proj"]}, "ParameterDict"),
    ],
)
def test_unseen_parameters_have_a_reason(lora, kind):
    model = tiny_model("llama", len(chatml_tokenizer()))
    whole = sum(parameter.numel() for parameter in model.parameters())
    model = get_peft_model(model, LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **lora}))
    found = coverage(model)
    trainable = {name: value for name, value in model.named_parameters() if value.requires_grad}
    assert found.trainable == sum(value.numel() for value in trainable.values())
    assert found.trainable + found.frozen >= whole
    assert found.layers == 4
    unseen = [name for names in found.unseen.values() for name in names]
    assert found.seen == found.trainable - sum(trainable[name].numel() for name in unseen)
    assert bool(unseen) == (kind is not None)
    assert all(kind in reason for reason in found.unseen)
    assert len(found.describe()) == 2 + len(found.unseen)
