"""Names of rows that survive filtering, shuffling and batching."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any


def row_id(prompt: Any, completion: Any) -> str:
    """A stable name of a row without an id: 16 hexadecimal digits of the SHA-256 of its content."""
    content = json.dumps([prompt, completion], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def unique_ids(ids: Iterable[str]) -> tuple[list[str], int]:
    """Ids with `#2`, `#3`, ... behind those that occurred before, and how many were renamed."""
    seen: Counter[str] = Counter()
    taken: set[str] = set()
    unique, renamed = [], 0
    for name in ids:
        seen[name] += 1
        candidate = name if seen[name] == 1 else f"{name}#{seen[name]}"
        while candidate in taken:
            seen[name] += 1
            candidate = f"{name}#{seen[name]}"
        renamed += candidate != name
        taken.add(candidate)
        unique.append(candidate)
    return unique, renamed
