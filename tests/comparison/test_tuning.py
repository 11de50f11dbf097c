"""What is chosen, and that nothing is while one candidate's value is not known."""

from dataclasses import replace

import pytest

from dualselect.comparison.config import Entry
from dualselect.comparison.run_plan import RunPlan
from dualselect.comparison.tuning import balance, has_balance, tuning_of
from dualselect.evaluation.metrics import summarize
from dualselect.evaluation.results import (
    Evaluation,
    JudgeRecord,
    ModelRecord,
    ResponseRecord,
    VerdictRecord,
    write_evaluation,
)
from dualselect.evaluation.suite import PURPOSES, Prompt, Suite
from dualselect.methods import METHODS


ENTRY = Entry("ema", "ema", METHODS["ema"], {}, [0], [{"decay": 0.1}, {"decay": 0.5}, {"decay": 0.9}])


def evaluation(suite, judge, value):
    measures = {"exact_match": value} if suite.purpose == "task" else {}
    responses = [
        ResponseRecord(
            suite.name, one.id, "", "", one.messages, "text", "", {judge.name: VerdictRecord(value)}, measures
        )
        for one in suite.prompts
    ]
    return Evaluation(ModelRecord("m", "m", "f"), {}, [judge], {}, summarize(suite, [judge], responses), responses)


@pytest.fixture
def candidate(tmp_path):
    """Makes the plan of a candidate that refused this share of the prompts; None is unscored."""

    def make(number, refused, still_unscored=0, exact=None):
        plan = RunPlan(f"ema, trying {number}", str(tmp_path / f"{number}"), {}, {"name": "validation"})
        if refused != "failed":
            harmful, task = (Suite(purpose, purpose, (Prompt("p", []),)) for purpose in ("harmful", "task"))
            (plan.path / "evaluation").mkdir(parents=True)
            judge = JudgeRecord("refusal", "refusal", "0")
            found = evaluation(harmful, judge, refused)
            if exact is not None:
                found = replace(found, summary=found.summary + evaluation(task, judge, exact).summary)
            write_evaluation(plan.path / "evaluation" / "validation.json", found)
            plan.write_done(still_unscored)
        return plan

    return make


def test_the_first_of_the_best_is_chosen(candidate):
    tuning = tuning_of(ENTRY, [candidate(0, 0.0), candidate(1, 1.0), candidate(2, 1.0)])
    assert tuning.chosen == 1
    assert tuning.missing == {}
    assert tuning.facts()["chosen"] == {"decay": 0.5}
    assert [one["value"] for one in tuning.facts()["tried"]] == [0.0, 1.0, 1.0]


def test_nothing_is_chosen_while_one_has_failed(candidate):
    tuning = tuning_of(ENTRY, [candidate(0, "failed"), candidate(1, 1.0), candidate(2, 0.0)])
    assert tuning.chosen is None
    assert tuning.missing == {}  # why it failed is told by the run
    assert [one["value"] for one in tuning.facts()["tried"]] == [None, 1.0, 0.0]


def test_nothing_is_chosen_while_a_judge_may_still_answer(candidate):
    tuning = tuning_of(ENTRY, [candidate(0, 1.0, still_unscored=3), candidate(1, 1.0), candidate(2, 0.0)])
    assert tuning.chosen is None
    assert list(tuning.missing) == ["ema, trying 0"]
    assert tuning.missing["ema, trying 0"].startswith("3 verdicts on validation prompts are missing")


def test_a_candidate_of_which_nothing_could_be_scored_is_told(candidate):
    tuning = tuning_of(ENTRY, [candidate(0, 1.0), candidate(1, None), candidate(2, 0.0)])
    assert tuning.chosen is None
    assert "it has no balance" in tuning.missing["ema, trying 1"]


def test_what_could_not_be_scored_does_not_leave_the_better_part_alone(candidate):
    """A candidate whose harmful prompts are all unscored would have the task alone, and win by it."""
    tuning = tuning_of(
        ENTRY, [candidate(number, refused, exact=1.0) for number, refused in enumerate((None, 0.0, 1.0))]
    )
    assert tuning.chosen is None
    assert [one["value"] for one in tuning.facts()["tried"]] == [None, 0.5, 1.0]
    assert "nothing could be scored (refusal_rate in harmful)" in tuning.missing["ema, trying 0"]


def test_chats_are_no_safety():
    """Nothing says that a chat should be refused, so that an unsafe answer there is told and not chosen by."""
    judge = JudgeRecord("j", "unsafe", "0")
    harmful, chat = (evaluation(Suite(one, one, (Prompt("p", []),)), judge, 1.0) for one in ("harmful", "chat"))
    calm = evaluation(Suite("harmful", "harmful", (Prompt("p", []),)), judge, 0.0)
    assert balance(replace(calm, summary=calm.summary + chat.summary)) == balance(calm) == 1.0
    assert (balance(harmful), balance(chat)) == (0.0, None)


@pytest.mark.parametrize("measure", ["refusal", "harmfulness", "unsafe", "reward"])
@pytest.mark.parametrize("purpose", PURPOSES)
def test_it_is_known_beforehand_whether_there_is_a_balance(purpose, measure):
    suite = Suite("s", purpose, (Prompt("p", []),))
    judge = JudgeRecord("j", measure, "0")
    assert has_balance([suite], [judge]) == (balance(evaluation(suite, judge, 1.0)) is not None)
