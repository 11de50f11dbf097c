"""Preferences that the order of the two responses cannot sway."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dualselect.judges.protocol import Pair, PairwiseJudge, Verdict, hash_of


IDENTICAL = "identical responses: a tie without asking"


class BothOrders:
    """A pairwise judge asked in both orders.

    With p(x, y) the judge's preference for x when it is shown first, the value of (x, y) is
    (p(x, y) + 1 - p(y, x)) / 2, so that swapping the responses mirrors it exactly. Identical responses are ties and
    are not sent. A pair is unscored when one of its orders is.

    Args:
        judge: Called twice for each pair.
    """

    def __init__(self, judge: PairwiseJudge) -> None:
        self.name = judge.name
        self.prompt_hash = hash_of(judge=judge.prompt_hash, orders="both")
        self._judge = judge

    def preferences(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Verdict]]:
        """See `PairwiseJudge.preferences`."""
        asked = [position for position, pair in enumerate(pairs) if pair.first != pair.second]
        for position in sorted(set(range(len(pairs))) - set(asked)):
            yield position, Verdict(0.5, "", IDENTICAL)
        # the two orders of a pair are neighbours, so that a stopped judge leaves few pairs half asked
        both = [
            pair
            for position in asked
            for pair in (
                pairs[position],
                replace(pairs[position], first=pairs[position].second, second=pairs[position].first),
            )
        ]
        half: dict[int, Verdict] = {}
        for number, verdict in self._judge.preferences(both):
            if number ^ 1 not in half:
                half[number] = verdict
                continue
            other = half.pop(number ^ 1)
            given, swapped = (other, verdict) if number % 2 else (verdict, other)
            yield asked[number // 2], _combined(given, swapped)


def _combined(given: Verdict, swapped: Verdict) -> Verdict:
    raw = f"[in the order given]\n{given.raw}\n[swapped]\n{swapped.raw}"
    if given.value is None or swapped.value is None:
        reasons = {"in the order given": given.reason, "swapped": swapped.reason}
        return Verdict(None, "; ".join(f"{order}: {reason}" for order, reason in reasons.items() if reason), raw)
    return Verdict(mirrored_share(given.value - swapped.value), "", raw)


def mirrored_share(difference: float) -> float:
    """(1 + difference) / 2, rounded so that share(-d) is 1 - share(d) to the last bit; `difference` in [-1, 1]."""
    larger = 0.5 + abs(difference) / 2
    return larger if difference >= 0 else 1.0 - larger
