"""Which settings are secrets."""

import re


def is_secret(name: str) -> bool:
    """Whether a setting is a secret by its name, which no file and no message shows."""
    return re.search(r"(^|_)(token|password|secret|api_?key)$", name.lower()) is not None
