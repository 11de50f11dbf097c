"""Code that comes with a model: it runs only when the caller says so, and never because a file says so."""

from collections.abc import Mapping
from typing import Any

from dualselect.errors import ConfigError


SETTING = "trust_remote_code"
ADVICE = f"Read that code; if you trust it, add --{SETTING} to this command ({SETTING}=True in Python)."


def comes_with_code(error: BaseException) -> bool:
    """Whether transformers refused to load something because it would run code that comes with it."""
    return SETTING in str(error) or "custom code" in str(error)


def refusal_of_code(name: object) -> str:
    """The message for something that cannot be loaded without running its code."""
    return f"{name} comes with code of its own, which does not run here unless you say so. {ADVICE}"


def check_trust(settings: Mapping[str, Any], where: object, *, trusted: bool) -> None:
    """Refuse settings of a file that was found, such as the config.yaml of a run, when they trust code.

    Args:
        settings: What the file says.
        where: The file.
        trusted: Whether the caller of this command trusts the code.

    Raises:
        ConfigError: The file trusts code and the caller does not say so.
    """
    if settings.get(SETTING) and not trusted:
        raise ConfigError(
            f"{where}: {SETTING} is true in its config.yaml, which a run wrote, and such a file does not decide whose "
            f"code runs here. The code is that of {settings.get('model_name_or_path', 'the model')}. {ADVICE}"
        )
