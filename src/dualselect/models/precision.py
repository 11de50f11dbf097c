"""Number formats: what a GPU computes in, what a quantized model computes in, and what the adapter is kept in."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from trl import ModelConfig, get_quantization_config


def has_bfloat16_gpu() -> bool:
    """Whether there is a GPU that computes in bfloat16 itself; older ones emulate it, slowly."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def quantization_of(settings: ModelConfig) -> Any:
    """TRL's quantization of a model, with the dtype that `auto` means, which TRL does not know; None for none."""
    if settings.dtype == "auto":
        settings = replace(settings, dtype="bfloat16" if has_bfloat16_gpu() else "float32")
    return get_quantization_config(settings)


def autocast_forward(model: nn.Module) -> None:
    """Compute the model's forward in bfloat16, and nothing around it, as accelerate does in training."""
    device = next(model.parameters()).device.type
    model.forward = torch.autocast(device, torch.bfloat16)(model.forward)


def with_float32_adapter(model: nn.Module) -> nn.Module:
    """The model, with TRL's rounding of a quantized model's adapter undone, which a resumed run would not have."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model
