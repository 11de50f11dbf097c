"""Names of rows: the data's own, else a hash of the content."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from dualselect.data.turns import text_of
from dualselect.errors import DataError


Turn = Mapping[str, Any]


def row_id(prompt: str | Sequence[Turn], completion: str | Sequence[Turn]) -> str:
    """The content hash of a row, the same on every machine and in every version.

    Args:
        prompt: The turns before the response; a string is one user turn.
        completion: The response; a string is one assistant turn.

    Returns:
        The first 16 hexadecimal digits of the sha256 of the canonical JSON.
    """
    content = [_pairs(prompt, "user"), _pairs(completion, "assistant")]
    canonical = json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def own_id(value: Any, place: str) -> str | None:
    """The row's own id as text, None when it has none.

    Raises:
        DataError: The id is neither text nor a whole number, or holds characters that no file takes.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{place}: the id {value!r} is of type {type(value).__name__}: make it text or a whole number, or drop "
            "the column and a hash of the content is used"
        )
    return text_of(str(value), "the id", place)


def distinct_ids(ids: Sequence[str]) -> tuple[list[str], int]:
    """Rename repeated ids, "a", "a", "a" to "a", "a#2", "a#3".

    Returns:
        The ids, all different, and how many were renamed.
    """
    taken, last = set(ids), dict.fromkeys(ids, 0)
    renamed, distinct = 0, []
    for name in ids:
        last[name] += 1
        new = name
        if last[name] > 1:
            while (new := f"{name}#{last[name]}") in taken:
                last[name] += 1
            taken.add(new)
            renamed += 1
        distinct.append(new)
    return distinct, renamed


def _pairs(turns: str | Sequence[Turn], role: str) -> list[list[Any]]:
    if isinstance(turns, str):
        return [[role, turns]]
    return [[turn["role"], turn.get("content") or "", *_extra(turn)] for turn in turns]


def _extra(turn: Turn) -> list[Any]:
    """What a turn says in addition to its text, so that two tool calls are two responses."""
    extra = {
        key: value
        for key, value in turn.items()
        if value is not None and key not in ("role", "content", "train", "weight")
    }
    return [extra] if extra else []
