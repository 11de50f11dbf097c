"""What can be said of a model's settings before it is loaded: where it is, and which optional packages it needs."""

import difflib
import re

from transformers import AttentionInterface
from transformers.modeling_flash_attention_utils import FLASH_ATTENTION_COMPATIBILITY_MATRIX
from transformers.utils import is_bitsandbytes_available, is_kernels_available
from trl import ModelConfig

from dualselect.errors import ConfigError
from dualselect.models.loading import check_location
from dualselect.system.packages import install_command


def check_model(settings: ModelConfig) -> None:
    """Refuse a model that is not there or is a run of this program, and settings whose packages are not installed.

    Raises:
        ConfigError: A package is missing; the message says what to install.
        ModelError: There is no such model.
    """
    check_model_packages(settings)
    check_location(str(settings.model_name_or_path))


def check_model_packages(settings: ModelConfig) -> None:
    """Refuse a quantization or an attention whose package is not installed.

    Raises:
        ConfigError: One is missing; the message says what to install.
    """
    bits = {"load_in_4bit": settings.load_in_4bit, "load_in_8bit": settings.load_in_8bit}
    for name in (name for name, given in bits.items() if given):
        if not is_bitsandbytes_available():
            raise ConfigError(
                f"{name}: true needs a package that is not installed: type {install_command('bitsandbytes')}, or "
                f"leave {name} out"
            )
    check_attention(settings.attn_implementation)


def check_attention(name: str | None) -> None:
    """Refuse an attention that transformers does not know, or whose package is not installed.

    Raises:
        ConfigError: It cannot be used; the message says what to install or to write.
    """
    plain = (name or "").removeprefix("paged|")
    if not plain or is_kernels_available():  # with kernels, attention may also come from the hub
        return
    known = sorted({"eager", *(one for one in AttentionInterface().valid_keys() if "|" not in one)})
    if "/" in plain:
        raise ConfigError(
            f"attn_implementation: {name} needs a package that is not installed: type {install_command('kernels')}, "
            "or write attn_implementation: sdpa"
        )
    if plain not in known:
        near = difflib.get_close_matches(plain, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"
        raise ConfigError(f"attn_implementation: {name} is not known; {advice}")
    version = re.fullmatch(r"flash_attention_(\d+)", plain)
    checks = FLASH_ATTENTION_COMPATIBILITY_MATRIX.get(int(version[1])) if version else None
    if checks is None or checks["general_availability_check"]():
        return
    if any(is_there() for is_there, _ in checks.get("custom_supported_devices", ())):
        return
    if not checks["pkg_availability_check"]():
        raise ConfigError(
            f"attn_implementation: {name} needs a package that is not installed: type "
            f"{install_command('kernels')} (or flash-attn, which is compiled), or write attn_implementation: sdpa"
        )
    raise ConfigError(
        f"attn_implementation: {name} does not run on this machine, which has no GPU for it: write "
        "attn_implementation: sdpa"
    )
