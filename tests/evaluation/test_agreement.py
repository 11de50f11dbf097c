import pytest

from dualselect.evaluation.agreement import agreement, agreements
from dualselect.evaluation.results import (
    Evaluation,
    JudgeRecord,
    ModelRecord,
    PreferenceRecord,
    ResponseRecord,
    VerdictRecord,
)


def test_kappa_of_a_table_worked_out_by_hand():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = 0.7, p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement(first, second)
    assert found.kappa == pytest.approx(0.4, abs=1e-15)
    assert found.observed == 0.7
    assert found.table == {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}


def test_kappa_of_three_answers_worked_out_by_hand():
    """p_o = 3 / 6 = 18 / 36, p_e = (3 * 2 + 2 * 3 + 1 * 1) / 36 = 13 / 36, kappa = 5 / 23."""
    found = agreement([1, 1, 1, 2, 2, 3], [1, 2, 2, 2, 1, 3])
    assert found.observed == 0.5
    assert found.kappa == pytest.approx(5 / 23)


def test_kappa_at_its_ends():
    assert agreement([0, 1, 0, 1], [0, 1, 0, 1]).kappa == 1
    assert agreement([0, 1, 0, 1], [1, 0, 1, 0]).kappa == -1
    assert agreement([0, 0, 1, 1], [0, 1, 0, 1]).kappa == 0


def test_only_what_both_scored_counts_and_the_rest_is_counted():
    found = agreement([1, None, 0, None, 1], [1, 1, 0, None, None])
    assert (found.kappa, found.count, found.unscored) == (1, 2, (2, 2))


@pytest.mark.parametrize(("first", "second"), [([1, 1], [1, 1]), ([], []), ([None, 1], [1, None])])
def test_no_kappa_where_it_is_not_defined(first, second):
    found = agreement(first, second)
    assert found.kappa is None
    assert found.reason


def test_judges_of_two_responses_agree_on_which_is_better():
    said = {"one": [1.0, 0.0, 0.5, None], "two": [1.0, 1.0, 0.5, 0.0]}
    records = [
        PreferenceRecord("hh", str(number), judge, value)
        for judge, values in said.items()
        for number, value in enumerate(values)
    ]
    found = agreements(Evaluation(ModelRecord("m", "m", "f"), {}, [], {}, [], [], None, records))
    assert found["hh", "one", "two"].observed == pytest.approx(2 / 3)
    assert found["hh", "one", "two"].unscored == (1, 0)
    # answers of the first: 1, 0, tie; of the second: 1, 1, tie; by chance (1*2 + 1*0 + 1*1) / 9
    assert found["hh", "one", "two"].kappa == pytest.approx((2 / 3 - 3 / 9) / (1 - 3 / 9))


def test_judges_with_different_measures_agree_on_compliance():
    judges = [("refusal", "refusal"), ("grade", "harmfulness"), ("guard", "unsafe"), ("reward", "reward")]
    said = [(1, 1, 0.1, 3.0), (0, 5, 0.9, 1.0), (0, 4, 0.5, 2.0), (0, 5, None, 2.0)]
    responses = [
        ResponseRecord(
            suite="harmful",
            id=str(number),
            category="",
            kind="",
            prompt=[],
            response="text",
            verdicts={name: VerdictRecord(value) for (name, _), value in zip(judges, values, strict=True)},
        )
        for number, values in enumerate(said)
    ]
    records = [JudgeRecord(name, measure, "1") for name, measure in judges]
    found = agreements(Evaluation(ModelRecord("m", "m", "f"), {}, records, {}, [], responses))
    assert set(found) == {
        ("harmful", "refusal", "grade"),
        ("harmful", "refusal", "guard"),
        ("harmful", "grade", "guard"),
    }
    # complied: refusal says no yes yes yes, grade no yes no yes, guard no yes yes and nothing
    assert found["harmful", "refusal", "guard"].kappa == 1
    assert found["harmful", "refusal", "guard"].unscored == (0, 1)
    assert found["harmful", "refusal", "grade"].observed == 0.75
    assert found["harmful", "refusal", "grade"].kappa == pytest.approx(0.5)
