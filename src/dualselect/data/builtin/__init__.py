"""Built-in data: tasks, risky rows, refusals, harmless look-alikes and chat, written for this project."""

from dualselect.data.builtin.harmful_topics import CATEGORIES
from dualselect.data.builtin.rows import KINDS, builtin_mix, builtin_rows, rows_up_to


__all__ = ["CATEGORIES", "KINDS", "builtin_mix", "builtin_rows", "rows_up_to"]
