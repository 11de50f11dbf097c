"""Which turns of a conversation are supervised."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dualselect.data.turns import is_empty


Turn = Mapping[str, Any]

Supervise = Literal["last", "all"]
"""`last`: the last assistant turn of a conversation; `all`: each assistant turn."""

Scope = Literal["last", "all", "everything"]
"""What is supervised of a row: as `Supervise`, or its whole text, prompt included."""

FLAGS = ("train", "weight")
"""Keys of a turn that say whether it is supervised; no template sees them."""


def supervised_turns(turns: Sequence[Turn], scope: Scope) -> list[int]:
    """Positions of the turns to supervise: by the assistant, not empty, not switched off.

    Args:
        turns: The whole conversation.
        scope: Which assistant turns are wanted; `everything` is read as `all`.
    """
    first = len(turns) - 1 if scope == "last" else 0
    return [
        position
        for position, turn in enumerate(turns)
        if position >= first and turn.get("role") == "assistant" and not is_empty(turn) and is_trained(turn)
    ]


def is_trained(turn: Turn) -> bool:
    """Whether the turn has neither `train: false` nor `weight: 0`."""
    return turn.get("train") in (None, True) and turn.get("weight") != 0


def overridden_flags(turns: Sequence[Turn], scope: Scope) -> dict[str, int]:
    """Flags that are not followed, with counts: a weight other than 0 and 1, an earlier turn where `last` is set."""
    counts: dict[str, int] = {}
    for position, turn in enumerate(turns):
        earlier = scope == "last" and position < len(turns) - 1 and turn.get("role") == "assistant"
        if turn.get("weight") not in (None, 0, 1) or (earlier and turn.get("weight")):
            counts["weight"] = counts.get("weight", 0) + 1
        if earlier and turn.get("train"):
            counts["train"] = counts.get("train", 0) + 1
    return counts
