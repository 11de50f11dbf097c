"""Tiny random models of the architectures the project supports."""

from typing import Any, Literal

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)


Architecture = Literal["llama", "qwen3", "gemma3", "smollm2"]
ARCHITECTURES: tuple[Architecture, ...] = ("llama", "qwen3", "gemma3", "smollm2")


def tiny_model(architecture: Architecture, vocab_size: int, seed: int = 0) -> PreTrainedModel:
    """A random float32 model of two layers whose weights depend on the arguments only."""
    common: dict[str, Any] = {
        "vocab_size": vocab_size,
        "num_hidden_layers": 2,
        "max_position_embeddings": 512,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _BUILDERS[architecture](common)
    return model.float()


def _llama(common: dict[str, Any]) -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            **common,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=False,
        )
    )


def _qwen3(common: dict[str, Any]) -> PreTrainedModel:
    # A head wider than hidden_size / heads, and norms on queries and keys: what sets Qwen3 apart from Llama.
    return Qwen3ForCausalLM(
        Qwen3Config(
            **common,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            tie_word_embeddings=False,
        )
    )


def _gemma3(common: dict[str, Any]) -> PreTrainedModel:
    # One layer of each kind of attention; the window is shorter than the rows of the tests, so that it matters.
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            **common,
            hidden_size=32,
            intermediate_size=64,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
        )
    )


def _smollm2(common: dict[str, Any]) -> PreTrainedModel:
    # Llama with tied embeddings and three query heads to a key head, as in SmolLM2-135M.
    return LlamaForCausalLM(
        LlamaConfig(
            **common,
            hidden_size=48,
            intermediate_size=96,
            num_attention_heads=3,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            rope_theta=100_000.0,
        )
    )


_BUILDERS = {"llama": _llama, "qwen3": _qwen3, "gemma3": _gemma3, "smollm2": _smollm2}
