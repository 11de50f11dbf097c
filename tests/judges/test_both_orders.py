import random

import pytest

from dualselect.judges import BothOrders, Pair, PairwiseJudge, Verdict
from dualselect.judges.both_orders import mirrored_share


class Scripted:
    """Prefers by a function of the two texts; answers come in any order."""

    name = "scripted"
    prompt_hash = "1"

    def __init__(self, prefers):
        self.prefers, self.asked = prefers, []

    def preferences(self, pairs):
        order = list(range(len(pairs)))
        random.Random(1).shuffle(order)
        for position in order:
            self.asked.append((pairs[position].first, pairs[position].second))
            yield position, self.prefers(pairs[position].first, pairs[position].second)


def pairs(*texts):
    return [Pair(str(number), [], first, second) for number, (first, second) in enumerate(texts)]


def values(judge, *texts):
    return [verdict.value for _, verdict in sorted(BothOrders(judge).preferences(pairs(*texts)))]


def test_each_pair_is_asked_in_both_orders():
    judge = Scripted(lambda first, second: Verdict(float(len(first) > len(second))))
    assert values(judge, ("longer", "short"), ("a", "bb"), ("much longer", "b")) == [1, 0, 1]
    assert sorted(judge.asked) == sorted(
        [
            ("longer", "short"),
            ("short", "longer"),
            ("a", "bb"),
            ("bb", "a"),
            ("much longer", "b"),
            ("b", "much longer"),
        ]
    )


def test_a_judge_that_always_takes_the_first_says_nothing():
    judge = Scripted(lambda first, second: Verdict(1.0))
    assert values(judge, ("a", "b"), ("c", "d")) == [0.5, 0.5]


def test_half_a_preference_for_one_order():
    judge = Scripted(lambda first, second: Verdict(0.5 if first == "a" else 0.0))
    assert values(judge, ("a", "b"), ("b", "a")) == [0.75, 0.25]


def test_identical_responses_are_ties_and_are_not_sent():
    judge = Scripted(lambda first, second: Verdict(1.0))
    assert values(judge, ("a", "a"), ("a", "b"), ("", "")) == [0.5, 0.5, 0.5]
    assert all(first != second for first, second in judge.asked)
    assert len(judge.asked) == 2


@pytest.mark.parametrize("bad", ["a", "b"])
def test_unscored_in_one_order_is_unscored_with_the_reason(bad):
    judge = Scripted(lambda first, second: Verdict(None, "hung", "") if first == bad else Verdict(1.0, "", "A"))
    ((_, verdict),) = BothOrders(judge).preferences(pairs(("a", "b")))
    assert verdict.value is None
    assert verdict.reason == ("in the order given: hung" if bad == "a" else "swapped: hung")
    assert "A" in verdict.raw


@pytest.mark.parametrize("seed", range(20))
def test_swapping_mirrors_any_probability_to_the_last_bit(seed):
    numbers = random.Random(seed)
    table = {("a", "b"): numbers.random(), ("b", "a"): numbers.random()}
    judge = Scripted(lambda first, second: Verdict(table[first, second]))
    given, swapped = values(judge, ("a", "b"), ("b", "a"))
    assert given == 1.0 - swapped
    assert given == pytest.approx((table["a", "b"] + 1 - table["b", "a"]) / 2)
    assert mirrored_share(0.0) == 0.5


def test_it_is_a_pairwise_judge_with_a_hash_of_its_own():
    judge = Scripted(lambda first, second: Verdict(1.0))
    assert isinstance(BothOrders(judge), PairwiseJudge)
    assert BothOrders(judge).prompt_hash != judge.prompt_hash
