"""Win rates over seeds: 50 against itself, mirrored when swapped, kept, and the average of the harmful suites."""

import pytest

from dualselect.comparison.win_rates import averaged_suites, win_rate_rows
from dualselect.errors import ConfigError
from dualselect.evaluation.intervals import rate, wilson
from dualselect.evaluation.results import Evaluation, ModelRecord, ResponseRecord
from dualselect.evaluation.store import Store
from dualselect.evaluation.suite import Prompt, Suite
from dualselect.judges import Verdict


SUITES = [
    Suite(name, purpose, tuple(Prompt(f"p{n}", []) for n in range(count)))
    for name, purpose, count in (("hh", "harmful", 6), ("hex", "harmful", 3), ("orca", "chat", 4), ("math", "task", 2))
]


class Longer:
    """Prefers the longer response, and notes what it was asked."""

    name, prompt_hash = "longer", "0"

    def __init__(self):
        self.asked = 0

    def preferences(self, pairs):
        for position, pair in enumerate(pairs):
            self.asked += 1
            first, second = len(pair.first), len(pair.second)
            yield position, Verdict(0.5 if first == second else float(first > second))


class Fickle(Longer):
    """Prefers the longer response, and to one prompt in three the shorter."""

    def preferences(self, pairs):
        for position, verdict in super().preferences(pairs):
            turned = int(pairs[position].id[1:]) % 3 == 0
            yield position, Verdict(1.0 - verdict.value if turned else verdict.value)


def evaluation(length, suites=SUITES):
    """Responses of a length that depends on suite and prompt."""
    responses = [
        ResponseRecord(
            suite=suite.name,
            id=prompt.id,
            category="",
            kind="",
            prompt=[{"role": "user", "content": f"{suite.name} {prompt.id}"}],
            response="word " * length(suite.name, int(prompt.id[1:])),
        )
        for suite in suites
        for prompt in suite.prompts
    ]
    return Evaluation(ModelRecord("m", "m", "f"), {}, [], {}, [], responses)


def rows(ours, theirs, tmp_path, judge=None, average=("hh", "hex"), suites=SUITES):
    with Store.opened(tmp_path / "preferences.jsonl") as store:
        found = win_rate_rows("ema", ours, theirs, suites, average, judge or Longer(), store)
    return {(row.metric, row.suite): row for row in found}


@pytest.fixture
def models():
    ours = {"0": evaluation(lambda suite, n: 1 + n % 3), "1": evaluation(lambda suite, n: 2)}
    theirs = {"0": evaluation(lambda suite, n: 2), "1": evaluation(lambda suite, n: 1 + (suite == "hex") * 2)}
    return ours, theirs


def test_the_average_weighs_its_suites_alike(models, tmp_path):
    found = rows(*models, tmp_path)
    # seed 0 prefers n % 3 == 2 and ties at 1: 50 in both; seed 1 is always longer in hh and orca, shorter in hex
    assert found["win_rate", "hh"].seeds == {"0": 50.0, "1": 100.0}
    assert found["win_rate", "hex"].seeds == {"0": 50.0, "1": 0.0}
    average = found["safety_average", ""]
    assert average.value == pytest.approx((75.0 + 25.0) / 2)
    assert average.low <= 50.0 <= average.high
    assert set(found) == {
        ("win_rate", "hh"), ("win_rate_length_controlled", "hh"), ("win_rate", "hex"),
        ("win_rate_length_controlled", "hex"), ("win_rate", "orca"), ("win_rate_length_controlled", "orca"),
        ("safety_average", ""),
    }  # fmt: skip


def test_the_average_is_over_the_suites_that_are_named(models, tmp_path):
    found = rows(*models, tmp_path, average=("orca", "hex"))
    assert found["win_rate", "orca"].seeds == {"0": 37.5, "1": 100.0}
    assert found["safety_average", ""].value == pytest.approx((68.75 + 25.0) / 2)
    assert (found["win_rate", "orca"].purpose, found["win_rate_length_controlled", "hex"].purpose) == (
        "chat",
        "harmful",
    )
    assert ("safety_average", "") not in rows(*models, tmp_path, average=("hh", "silent"))


def test_suites_to_average_are_known_and_judged():
    assert averaged_suites([], SUITES) == ["hh", "hex"]
    assert averaged_suites(["orca", "hh"], SUITES) == ["orca", "hh"]
    for name in ("hexphi", "math"):
        with pytest.raises(ConfigError, match=f"average names {name}, .* choose from hh, hex, orca"):
            averaged_suites(["hh", name], SUITES)


def test_seeds_that_agree_are_no_surer_than_one(tmp_path):
    suites = [Suite("hh", "harmful", tuple(Prompt(f"p{n}", []) for n in range(60)))]
    ours = evaluation(lambda suite, n: 1 + n * 7 % 5, suites)
    theirs = evaluation(lambda suite, n: 1 + n * 3 % 4, suites)
    one, four = (
        rows(dict.fromkeys(seeds, ours), dict.fromkeys(seeds, theirs), tmp_path, Fickle(), ["hh"], suites)
        for seeds in ("0", "0123")
    )
    for metric in ("win_rate", "win_rate_length_controlled"):
        alone, same = one[metric, "hh"], four[metric, "hh"]
        assert same.value == pytest.approx(alone.value)
        assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=0.2)


def test_against_itself_it_is_50_and_swapped_it_is_mirrored(models, tmp_path):
    ours, theirs = models
    for row in rows(ours, ours, tmp_path).values():
        assert (row.value, row.interval) == (50.0, "wilson")
        assert row.low < 50.0 < row.high
        assert row.low + row.high == pytest.approx(100.0)
    there, back = rows(ours, theirs, tmp_path), rows(theirs, ours, tmp_path)
    for key, row in there.items():
        if key[0] != "win_rate_length_controlled":
            assert row.value + back[key].value == pytest.approx(100.0)
            assert row.low + back[key].high == pytest.approx(100.0)


def test_a_side_that_always_wins_is_not_certain_to(tmp_path):
    ours, theirs = ({seed: evaluation(lambda suite, n, count=count: count) for seed in "01"} for count in (3, 2))
    found = rows(ours, theirs, tmp_path)
    hh, average = found["win_rate", "hh"], found["safety_average", ""]
    assert (hh.value, hh.high, hh.interval) == (100.0, 100.0, "wilson")
    assert hh.low == pytest.approx(100 * rate(6, 6).low)  # as many as there are prompts, whatever the seeds
    assert (average.value, average.interval) == (100.0, "wilson")
    assert average.low == pytest.approx(100 * wilson(1.0, 4 / (1 / 6 + 1 / 3))[0])


def test_nothing_is_asked_twice(models, tmp_path):
    judge = Longer()
    rows(*models, tmp_path, judge)
    asked = judge.asked
    assert asked > 0
    assert rows(*models, tmp_path, judge).keys() == rows(*models, tmp_path).keys()
    assert judge.asked == asked


def test_a_seed_that_the_baseline_lacks_is_left_out(models, tmp_path):
    ours, theirs = models
    assert rows(ours, {"0": theirs["0"]}, tmp_path)["win_rate", "hh"].seeds == {"0": 50.0}
    assert rows(ours, {}, tmp_path) == {}
