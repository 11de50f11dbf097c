import random

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binom

from dualselect.evaluation.intervals import wilson
from dualselect.evaluation.win_rate import average_win_rate, length_controlled_win_rate, win_rate
from dualselect.judges import BothOrders, Pair, Verdict


def verdicts(*values):
    return [Verdict(value, "" if value is not None else "hung") for value in values]


def compared(count, seed, *, candidate=(1, 300), baseline=(1, 300), choices=(0.0, 0.25, 0.5, 0.75, 1.0)):
    numbers = random.Random(seed)
    pairs = [
        Pair(str(number), [], "x" * numbers.randint(*candidate), "y" * numbers.randint(*baseline))
        for number in range(count)
    ]
    found = verdicts(*(numbers.choice(choices) for _ in range(count - 1)), None)
    return pairs, found


def swapped(pairs, found):
    others = [Pair(pair.id, pair.prompt, pair.second, pair.first) for pair in pairs]
    return others, [Verdict(None if one.value is None else 1.0 - one.value, one.reason) for one in found]


def test_ties_count_half_and_unscored_ones_not_at_all():
    found = win_rate(verdicts(1, 1, 0.5, 0, None, 1))
    assert found.value == pytest.approx(70)
    assert (found.count, found.unscored) == (5, 1)
    assert found.low < 70 < found.high


def test_the_interval_is_that_of_the_bootstrap():
    """The bootstrap of wins and losses is binomial, whose quantiles are known."""
    found = win_rate(verdicts(*[1] * 60, *[0] * 40), resamples=20_000)
    assert found.low == pytest.approx(binom.ppf(0.025, 100, 0.6), abs=1)
    assert found.high == pytest.approx(binom.ppf(0.975, 100, 0.6), abs=1)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("choices", [(0.0, 0.5, 1.0), (0.1, 1 / 3, 0.5, 0.7)])
def test_swapping_the_models_mirrors_everything_to_the_last_bit(seed, choices):
    pairs, found = compared(37, seed, candidate=(1, 200), choices=choices)
    # what BothOrders gives: the mirrored preference is exactly 1 - v
    found = [one if one.value is None or one.value >= 0.5 else Verdict(1.0 - (1.0 - one.value)) for one in found]
    others, mirrored = swapped(pairs, found)
    for given, back in (
        (win_rate(found), win_rate(mirrored)),
        (length_controlled_win_rate(pairs, found), length_controlled_win_rate(others, mirrored)),
        (average_win_rate([found, found[:9]]), average_win_rate([mirrored, mirrored[:9]])),
    ):
        assert (given.value, given.low, given.high) == (100 - back.value, 100 - back.high, 100 - back.low)
        assert (back.value, back.low, back.high) == (100 - given.value, 100 - given.high, 100 - given.low)
        assert (given.count, given.unscored) == (back.count, back.unscored)


class Moody:
    """Answers at random, and rather for what stands first."""

    name, prompt_hash = "moody", "1"

    def __init__(self, seed):
        self.numbers = random.Random(seed)

    def preferences(self, pairs):
        for position in range(len(pairs)):
            yield position, Verdict(self.numbers.choice([1.0, 1.0, 1.0, 0.5, 0.0]))


def test_a_model_against_itself_has_50():
    same = [Pair(str(number), [], "a" * number, "a" * number) for number in range(20)]
    found = [verdict for _, verdict in sorted(BothOrders(Moody(0)).preferences(same))]
    for rate in (win_rate(found), length_controlled_win_rate(same, found)):
        assert (rate.value, rate.low + rate.high, rate.interval) == (50, 100, "wilson")
        assert rate.low < 50 < rate.high


@pytest.mark.parametrize("count", range(1, 40, 6))
@pytest.mark.parametrize("value", [1.0, 0.5, 0.75])
def test_preferences_that_are_all_alike_have_the_interval_of_a_rate(count, value):
    """A bootstrap of them would claim to be certain."""
    pairs = [Pair(str(number), [], "abc", "xyz") for number in range(count)]
    found = verdicts(*[value] * count)
    others, mirrored = swapped(pairs, found)
    for given, back in (
        (win_rate(found), win_rate(mirrored)),
        (length_controlled_win_rate(pairs, found), length_controlled_win_rate(others, mirrored)),
        (average_win_rate([found, found]), average_win_rate([mirrored, mirrored])),
    ):
        assert (given.value, given.interval) == (100 * value, "wilson")
        assert (given.value, given.low, given.high) == (100 - back.value, 100 - back.high, 100 - back.low)
    one, two = win_rate(found), average_win_rate([found, found])
    assert (one.low, one.high) == pytest.approx([100 * end for end in wilson(value, count)])
    assert (two.low, two.high) == pytest.approx([100 * end for end in wilson(value, 2 * count)])


def test_runs_that_say_the_same_of_all_prompts_are_no_surer_than_one():
    pairs = [Pair(str(number), [], "abc", "xyz") for number in range(8)]
    one = length_controlled_win_rate(pairs, verdicts(*[1] * 8))
    both = length_controlled_win_rate(pairs * 2, verdicts(*[1] * 16), runs=[run for run in "ab" for _ in pairs])
    assert (both.low, both.high) == (one.low, one.high)


def test_ties_that_no_length_explains_are_not_certain():
    pairs = [Pair(str(number), [], "x" * number, "abc") for number in range(12)]
    found = length_controlled_win_rate(pairs, verdicts(*[0.5] * 12))
    assert (found.value, found.interval) == (50, "wilson")
    assert found.low < 50 < found.high


def test_a_model_against_itself_sampled_twice_has_50_within_its_interval():
    """95% intervals: of 40 random judges about 38 must cover 50, and fewer than 33 would be a broken interval."""
    covered = 0
    for seed in range(40):
        pairs, _ = compared(60, seed)
        found = [verdict for _, verdict in sorted(BothOrders(Moody(seed)).preferences(pairs))]
        rate = win_rate(found, resamples=500)
        covered += rate.low <= 50 <= rate.high
    assert 33 <= covered <= 40


def test_safety_average_weighs_suites_not_prompts():
    found = average_win_rate([verdicts(*[1] * 90), verdicts(*[0, 0, 0, 1, None])])
    assert found.value == pytest.approx((100 + 25) / 2)
    assert (found.count, found.unscored) == (94, 1)
    # the only spread is that of the four: 25 +- 2 standard deviations of a binomial of four, halved
    assert found.low == pytest.approx(50)
    assert found.high == pytest.approx(50 + 37.5, abs=1)


@pytest.mark.parametrize("suites", [[], [[]], [verdicts(1, 0), verdicts(None)]])
def test_no_average_without_preferences(suites):
    found = average_win_rate(suites)
    assert found.value is None
    assert found.reason


@pytest.mark.parametrize("seed", range(5))
def test_length_control_is_the_logistic_fit(seed):
    pairs, found = compared(80, seed, candidate=(50, 400), baseline=(1, 200))
    scored = [(pair, verdict.value) for pair, verdict in zip(pairs, found, strict=True) if verdict.value is not None]
    lengths = np.array([len(pair.first) - len(pair.second) for pair, _ in scored], dtype=float)
    z, y = lengths / np.sqrt((lengths**2).mean()), np.array([value for _, value in scored])

    def loss(coefficients):
        linear = coefficients[0] + coefficients[1] * z
        return np.logaddexp(0, linear).sum() - y @ linear

    fitted = minimize(loss, [0.0, 0.0], tol=1e-12)
    assert length_controlled_win_rate(pairs, found).value == pytest.approx(100 * expit(fitted.x[0]), abs=1e-3)


def test_length_control_takes_away_what_length_won():
    """A judge that likes length: the candidate is longer and wins, but not at equal length."""
    numbers = random.Random(0)
    pairs, found = [], []
    for number in range(400):
        difference = numbers.randint(-100, 300)
        pairs.append(Pair(str(number), [], "x" * (400 + difference), "y" * 400))
        found.append(Verdict(float(numbers.random() < expit(difference / 100))))
    raw, controlled = win_rate(found), length_controlled_win_rate(pairs, found)
    assert raw.low > 60
    assert controlled.low < 50 < controlled.high


@pytest.mark.parametrize("bad", ["one side always wins", "length tells all", "same difference"])
def test_length_control_says_when_it_cannot_be_fitted(bad):
    lengths = [(number * 7) % 31 - 12 for number in range(30)]
    if bad == "same difference":
        lengths = [5] * 30
    pairs = [Pair(str(number), [], "x" * (50 + extra), "y" * 50) for number, extra in enumerate(lengths)]
    values = [float(extra > 0) for extra in lengths] if bad == "length tells all" else [1.0] * 30
    if bad == "same difference":
        values = [float(number % 3 > 0) for number in range(30)]
    found = length_controlled_win_rate(pairs, verdicts(*values))
    assert found.value is None
    assert found.low is None
    assert found.reason
    assert win_rate(verdicts(*values)).value is not None


def test_without_any_difference_in_length_nothing_is_controlled_for():
    pairs = [Pair(str(number), [], "abc", "xyz") for number in range(8)]
    found = verdicts(1, 1, 1, 0, 0.5, 1, 0, 1)
    assert length_controlled_win_rate(pairs, found) == win_rate(found)


@pytest.mark.parametrize("longest", [300, 1])
def test_runs_that_agree_are_no_surer_than_one(longest):
    """Runs and prompts are crossed: the same prompts again say nothing new, be there lengths to control for or not."""
    pairs, found = compared(60, 5, candidate=(1, longest), baseline=(1, longest))
    one = length_controlled_win_rate(pairs, found)
    runs = [str(run) for run in range(4) for _ in pairs]
    same = length_controlled_win_rate(pairs * 4, found * 4, runs=runs)
    assert same.value == pytest.approx(one.value)
    assert same.high - same.low == pytest.approx(one.high - one.low, rel=0.1)
    assert (same.count, same.unscored) == (4 * one.count, 4 * one.unscored)


def test_runs_that_differ_widen_the_interval():
    pairs, _ = compared(200, 6)
    runs = [str(run) for run in range(2) for _ in pairs]
    choice = random.Random(1)
    found = verdicts(*(float(choice.random() < chance) for chance in (0.1, 0.9) for _ in pairs))
    one = length_controlled_win_rate(pairs, found[:200])
    both = length_controlled_win_rate(pairs * 2, found, runs=runs)
    assert both.low < 25
    assert both.high > 75
    assert one.high < 25


def test_few_preferences_still_give_an_interval():
    pairs, found = compared(6, 3, choices=(0.0, 1.0, 0.5))
    rate = length_controlled_win_rate(pairs, found)
    assert rate.value is None or 0 <= rate.low <= rate.value <= rate.high <= 100
