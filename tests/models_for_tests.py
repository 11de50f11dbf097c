"""Tiny random models of the architectures the project supports."""

from pathlib import Path
from typing import Any, Literal

import gguf
import torch
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers_for_tests import chatml_tokenizer
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


def saved_model(folder: Path, architecture: Architecture = "llama", seed: int = 0) -> Path:
    """The folder, with a tiny random model and a ChatML tokenizer in it."""
    tokenizer = chatml_tokenizer()
    tiny_model(architecture, len(tokenizer), seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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


def write_tiny_gguf(path: Path, seed: int = 0) -> PreTrainedModel:
    """Write a random Llama as a GGUF file, matrices in 8 bits, with a byte-level tokenizer and a chat template.

    Returns:
        The model that was written; its queries and keys stand in GGUF's own order in the file.
    """
    tokens = ["<|im_start|>", "<|im_end|>", *sorted(ByteLevel.alphabet()), "he"]
    model = tiny_model("llama", len(tokens), seed)
    config = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.NORMAL] * (len(tokens) - 2))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    )
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if count := next((count for part, count in heads.items() if part in name), None):
            # llama.cpp rotates neighbouring pairs, transformers the two halves of a head.
            array = array.reshape(count, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
        kind = gguf.GGMLQuantizationType.Q8_0 if array.ndim == 2 else gguf.GGMLQuantizationType.F32
        stored = gguf.quants.quantize(array, kind)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model
