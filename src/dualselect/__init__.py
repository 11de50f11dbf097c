"""Fine-tune an aligned chat model on your own data without losing its safety (arXiv 2606.09866)."""

import importlib
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from dualselect.auditing import audit
    from dualselect.data import load_rows
    from dualselect.errors import DualSelectError
    from dualselect.models import load_model
    from dualselect.sequences import continual
    from dualselect.training.config import DualSelectConfig
    from dualselect.training.trainer import DualSelectTrainer

__version__ = "0.1.0"
__all__ = ["DualSelectConfig", "DualSelectError", "DualSelectTrainer", "audit", "continual", "load_model", "load_rows"]

_HOMES = {
    "DualSelectConfig": "training.config",
    "DualSelectError": "errors",
    "DualSelectTrainer": "training.trainer",
    "audit": "auditing",
    "continual": "sequences",
    "load_model": "models",
    "load_rows": "data",
}


def __getattr__(name: str) -> Any:
    # torch and TRL take seconds to import; `dualselect --help` needs neither
    if name not in _HOMES:
        raise AttributeError(f"module 'dualselect' has no attribute {name!r}")
    return getattr(importlib.import_module(f"dualselect.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
