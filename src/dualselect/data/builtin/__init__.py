"""Built-in data: tasks, risky rows, refusals, harmless look-alikes and chat, written for this project."""

from .harmful_topics import CATEGORIES
from .rows import KINDS, builtin_mix, builtin_rows

__all__ = ["CATEGORIES", "KINDS", "builtin_mix", "builtin_rows"]
