"""Quantization and attention without their packages are refused in one line, before any model is loaded."""

import pytest

from dualselect.errors import ConfigError
from dualselect.models.checking import check_model_packages
from dualselect.runs.settings import LoraModelConfig


@pytest.fixture(autouse=True)
def nothing_optional_is_installed(monkeypatch):
    for name in ("is_bitsandbytes_available", "is_kernels_available"):
        monkeypatch.setattr(f"dualselect.models.checking.{name}", lambda: False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"load_in_4bit": True}, "load_in_4bit: true needs a package .*-m pip install bitsandbytes"),
        ({"load_in_8bit": True}, "load_in_8bit: true needs a package .*-m pip install bitsandbytes"),
        ({"attn_implementation": "flash_attention_2"}, "flash_attention_2 needs a package .*-m pip install kernels"),
        ({"attn_implementation": "flash_attention_3"}, "flash_attention_3 needs a package .*-m pip install kernels"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "-m pip install kernels"),
        ({"attn_implementation": "spda"}, "attn_implementation: spda is not known; did you mean sdpa"),
    ],
)
def test_what_is_missing_is_named(setting, message):
    with pytest.raises(ConfigError, match=message):
        check_model_packages(LoraModelConfig(**setting))


@pytest.mark.parametrize("attention", [None, "sdpa", "eager", "flex_attention"])
def test_what_torch_has_needs_nothing(attention):
    check_model_packages(LoraModelConfig(attn_implementation=attention))
