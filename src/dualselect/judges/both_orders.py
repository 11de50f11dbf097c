"""Pairwise preferences without order bias."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dualselect.judges.protocol import Pair, PairwiseJudge, Verdict, hash_of


IDENTICAL = "identical responses: a tie without asking"


class BothOrders:
    """A pairwise judge that sees each pair in both orders.

    With p(x, y) the judge's preference for x when it is shown first, the value of (x, y) is
    (p(x, y) + 1 - p(y, x)) / 2, so that swapping the responses mirrors it exactly. Identical responses are ties
    without a call. A pair is unscored if one of its orders is.

    Args:
        judge: Called twice for each pair.
    """

    def __init__(self, judge: PairwiseJudge) -> None:
        self.name = judge.name
        self.prompt_hash = hash_of(judge=judge.prompt_hash, orders="both")
        self._judge = judge

    def preferences(self, pairs: Sequence[Pair]) -> Iterator[tuple[int, Verdict]]:
        """See `PairwiseJudge.preferences`."""
        different = [position for position, pair in enumerate(pairs) if pair.first != pair.second]
        for position in sorted(set(range(len(pairs))) - set(different)):
            yield position, Verdict(0.5, "", IDENTICAL)
        # both orders of a pair are adjacent, so that an interrupted judge leaves few pairs incomplete
        both = [
            pair
            for position in different
            for pair in (
                pairs[position],
                replace(pairs[position], first=pairs[position].second, second=pairs[position].first),
            )
        ]
        first_order: dict[int, Verdict] = {}
        for number, verdict in self._judge.preferences(both):
            if number ^ 1 not in first_order:
                first_order[number] = verdict
                continue
            other = first_order.pop(number ^ 1)
            given, swapped = (other, verdict) if number % 2 else (verdict, other)
            yield different[number // 2], _combined(given, swapped)


def _combined(given: Verdict, swapped: Verdict) -> Verdict:
    raw = f"[in the order given]\n{given.raw}\n[swapped]\n{swapped.raw}"
    if given.value is None or swapped.value is None:
        reasons = {"in the order given": given.reason, "swapped": swapped.reason}
        return Verdict(None, "; ".join(f"{order}: {reason}" for order, reason in reasons.items() if reason), raw)
    return Verdict(mirrored_share(given.value - swapped.value), "", raw)


def mirrored_share(difference: float) -> float:
    """(1 + difference) / 2, rounded so that share(-d) equals 1 - share(d) bit for bit; `difference` in [-1, 1]."""
    larger = 0.5 + abs(difference) / 2
    return larger if difference >= 0 else 1.0 - larger
