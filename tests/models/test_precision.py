"""Number formats."""

import pytest
import torch
from models_for_tests import tiny_model
from rows_for_tests import small_trainer

from dualselect.errors import ConfigError
from dualselect.models.precision import has_bfloat16_gpu, quantization_of, with_float32_adapter
from dualselect.runs.settings import LoraModelConfig


@pytest.mark.parametrize(("dtype", "found"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_quantized_model_takes_every_dtype(dtype, found):
    settings = LoraModelConfig(load_in_4bit=True, dtype=dtype)
    assert quantization_of(settings).bnb_4bit_compute_dtype is found
    assert settings.dtype == dtype
    assert quantization_of(LoraModelConfig(dtype=dtype)) is None


def test_emulated_bfloat16_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_bfloat16_gpu()


def test_what_is_trained_is_float32_and_what_is_frozen_is_left():
    model = tiny_model("llama", 50).bfloat16()
    model.lm_head.weight.requires_grad_(False)
    with_float32_adapter(model)
    formats = {name: parameter.dtype for name, parameter in model.named_parameters()}
    assert formats.pop("lm_head.weight") is torch.bfloat16
    assert set(formats.values()) == {torch.float32}


@pytest.mark.parametrize("setting", ["bf16_full_eval", "fp16_full_eval"])
def test_what_would_leave_the_model_off_the_gpu_is_refused(tmp_path, setting):
    with pytest.raises(ConfigError, match="bf16: true, which also evaluates in bfloat16"):
        small_trainer(tmp_path, **{setting: True})
