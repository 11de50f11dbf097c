"""Models that the taps cannot see through are refused by the constructor, and the sequential engine trains them."""

import pytest
import torch
from models_for_tests import tiny_model
from peft import LoraConfig
from rows_for_tests import conversation_rows, safe_rows, small_trainer
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig, DualSelectTrainer
from dualselect.errors import GradientError


KINDS = {
    "full fine-tuning": ("smollm2", None),
    "DoRA": ("llama", {"use_dora": True}),
    "modules_to_save": ("qwen3", {"modules_to_save": ["embed_tokens"]}),
    "embeddings": ("gemma3", {"target_modules": ["embed_tokens", "q_proj"]}),
    "token indices": ("llama", {"trainable_token_indices": {"embed_tokens": [3, 4]}}),
}


def trainer_of(folder, kind, **settings):
    architecture, lora = KINDS[kind]
    tokenizer = chatml_tokenizer()
    peft_config = None if lora is None else LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **lora})
    return DualSelectTrainer(
        tiny_model(architecture, len(tokenizer)),
        DualSelectConfig(
            str(folder),
            max_steps=3,
            selection_warmup_steps=1,
            per_device_train_batch_size=2,
            harmless_drop_rate=0.2,
            gradient_checkpointing=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **settings,
        ),
        train_dataset=conversation_rows(6),
        reference_dataset=safe_rows(3),
        processing_class=tokenizer,
        peft_config=peft_config,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_refused_before_any_reference_is_scored(tmp_path, kind):
    with pytest.raises(GradientError, match="gradient_engine: sequential"):
        trainer_of(tmp_path, kind)


@pytest.mark.slow  # one example at a time
@pytest.mark.parametrize("kind", ["full fine-tuning", "DoRA", "modules_to_save"])
def test_the_sequential_engine_trains_it(tmp_path, kind):
    trainer = trainer_of(tmp_path, kind, gradient_engine="sequential")
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    assert any(not torch.equal(before[name], trainer.model.get_parameter(name)) for name in before)


def test_every_parameter_is_checked_against_autograd_once_it_has_a_gradient(tmp_path):
    trainer = small_trainer(tmp_path, max_steps=3)
    assert trainer._engine.unverified == set(trainer._layout.names)
    trainer.train()
    assert trainer._engine.unverified == set()


def test_a_use_of_a_weight_that_shows_only_after_the_first_step_is_found(tmp_path):
    """At B = 0 the gradient of A is zero however A is used; the second step sees it."""
    trainer = small_trainer(tmp_path, max_steps=4, learning_rate=0.1)
    layer = next(module for module in trainer.model.modules() if hasattr(module, "lora_A"))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    layer.register_forward_hook(lambda _module, _args, output: output + a.sum() * b.detach().sum())
    with pytest.raises(GradientError, match="lora_A.*do not add up"):
        trainer.train()
    assert trainer.state.global_step == 1
