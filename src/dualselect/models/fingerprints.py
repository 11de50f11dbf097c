"""Hashes that tell whether a model or tokenizer is the same as before."""

import hashlib
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase


# Enough numbers of each tensor to distinguish two models, and few enough to hash 8 billion parameters in seconds.
SAMPLES_PER_TENSOR = 4096


def model_fingerprint(model: PreTrainedModel) -> str:
    """A hash of names, shapes and evenly spaced numbers of every parameter."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.state_dict().items()):
        numbers = parameter.detach().flatten()
        numbers = numbers[:: max(1, len(numbers) // SAMPLES_PER_TENSOR)]
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(numbers.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def adapter_scaling(model: PreTrainedModel) -> list[dict[str, Any]]:
    """The scaling settings of a model's active adapters, which their weights do not show."""
    if not isinstance(model, PeftModel):
        return []
    names = ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")
    return [
        {name: getattr(model.peft_config[adapter], name, None) for name in names} for adapter in model.active_adapters
    ]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of the vocabulary, the special tokens and the chat template."""
    parts = (sorted(tokenizer.get_vocab().items()), tokenizer.special_tokens_map, tokenizer.chat_template)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
