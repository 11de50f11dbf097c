import random
import re
from dataclasses import replace

import pytest
from judge_servers_for_tests import Answer, scripted_server

from dualselect.errors import DataError, JudgeError
from dualselect.evaluation.against_baseline import preference_records, preferences, win_rates
from dualselect.evaluation.results import Evaluation, ModelRecord, ResponseRecord
from dualselect.evaluation.store import Store
from dualselect.evaluation.table import summary_table
from dualselect.judges import JudgeSettings, load_judge


def evaluated(name, suites):
    """An evaluation with these responses; prompt N of a suite is the same in every evaluation."""
    responses = [
        ResponseRecord(suite, str(number), "", "", [{"role": "user", "content": f"{suite} {number}?"}], text)
        for suite, texts in suites.items()
        for number, text in enumerate(texts)
    ]
    return Evaluation(ModelRecord(name, name, name), {}, [], {}, [], responses)


def prefers_careful(request, before):
    """The answer with "careful" in it is better; with both or neither, the one that stands first."""
    text = request["messages"][0]["content"]
    code = re.search(r"\[answer A (\w+)\]", text)[1]
    careful = [f"[answer {side} {code}]" in text and "careful" in between(text, side, code) for side in "AB"]
    return Answer(f"Better {code}: {'A' if careful[0] or not careful[1] else 'B'}")


def between(text, side, code):
    return text.partition(f"[answer {side} {code}]")[2].partition(f"[end of answer {side} {code}]")[0]


def judge_at(server):
    settings = JudgeSettings(base_url=server.base_url, model="judge", backoff_seconds=0.001, retries=0, concurrency=1)
    return load_judge("openai:preference", settings)


CANDIDATE = evaluated("ours", {"hh": ["careful a", "careful b", "rash", "same"], "hex": ["careful", "careful x"]})
BASELINE = evaluated("sft", {"hh": ["rash", "no", "careful", "same"], "hex": ["rash too", "careful y"]})


def rates(candidate, baseline, judge, store, **asked):
    return win_rates(preferences(candidate, baseline, judge, store, progress=False), judge, **asked)


def rows_of(rows):
    return {(row.suite, row.metric): row.value for row in rows}


def test_win_rates_of_each_suite_and_their_average(tmp_path):
    with scripted_server(prefers_careful) as server:
        judge = judge_at(server)
        compared = preferences(CANDIDATE, BASELINE, judge, Store(tmp_path / "s.jsonl"), progress=False)
    rows = win_rates(compared, judge, average=["hh", "hex"])
    kept = preference_records(compared, judge)
    assert [one.value for one in kept if one.suite == "hh"] == [1, 1, 0, 0.5]
    assert all("Better" in one.raw for one in kept if one.value != 0.5)
    found = rows_of(rows)
    assert found["hh", "win_rate"] == pytest.approx(100 * (1 + 1 + 0 + 0.5) / 4)
    assert found["hex", "win_rate"] == pytest.approx(75)
    assert found["average of hh, hex", "win_rate"] == pytest.approx((62.5 + 75) / 2)
    assert ("hh", "win_rate_length_controlled") in found
    assert all(row.judge == "openai:preference" for row in rows)
    assert len(server.requests) == 2 * 5, "both orders of all pairs but the identical one"


def test_swapping_the_models_mirrors_it_and_asks_nothing_new(tmp_path):
    numbers = random.Random(0)
    ours = evaluated("ours", {"hh": [f"{'careful ' * numbers.randint(0, 3)}{number}" for number in range(30)]})
    theirs = evaluated("sft", {"hh": [f"{'careful ' * numbers.randint(0, 2)}{number}" for number in range(30)]})
    store = Store(tmp_path / "s.jsonl")
    with scripted_server(prefers_careful) as server:
        given = rates(ours, theirs, judge_at(server), store)
        asked = len(server.requests)
        back = rates(theirs, ours, judge_at(server), store)
    assert len(server.requests) == asked
    for one, other in zip(given, back, strict=True):
        assert one.value is not None
        assert (one.value, one.low, one.high) == (100 - other.value, 100 - other.high, 100 - other.low)


def test_a_model_against_itself_has_50_without_being_asked(tmp_path):
    with scripted_server(prefers_careful) as server:
        rows = rates(CANDIDATE, CANDIDATE, judge_at(server), Store(tmp_path / "s.jsonl"))
    assert {(row.value, row.interval) for row in rows} == {(50, "wilson")}
    assert all(row.low < 50 < row.high and row.low + row.high == 100 for row in rows)
    assert not server.requests
    assert "50 [" in summary_table(rows)
    assert "%" not in summary_table(rows)


def test_a_judge_that_dies_loses_nothing_and_a_second_call_finishes(tmp_path):
    def dies(request, before):
        if len(server.requests) == 5:
            server.stop()
        return prefers_careful(request, before)

    path = tmp_path / "s.jsonl"
    with scripted_server(dies) as server, pytest.raises(JudgeError):
        rates(CANDIDATE, BASELINE, judge_at(server), Store(path))
    with scripted_server(prefers_careful) as second:
        found = rates(CANDIDATE, BASELINE, judge_at(second), Store(path))
    with scripted_server(prefers_careful) as clean:
        assert found == rates(CANDIDATE, BASELINE, judge_at(clean), Store(tmp_path / "new.jsonl"))
    assert len(second.requests) == 10 - 4, "two pairs were whole, a half one is asked again"


def test_what_cannot_be_scored_is_counted_and_asked_again(tmp_path, caplog):
    store = Store(tmp_path / "s.jsonl")
    with scripted_server(lambda request, before: Answer("I like both.")) as server:
        rows = rates(CANDIDATE, BASELINE, judge_at(server), store)
        assert [(row.count, row.unscored) for row in rows if row.suite == "hh"] == [(1, 3)] * 2
        assert "format" in caplog.text
        server.script = prefers_careful
        rows = rates(CANDIDATE, BASELINE, judge_at(server), store)
    assert [(row.count, row.unscored) for row in rows if row.suite == "hh"] == [(4, 0)] * 2


def test_prompts_without_a_partner_are_counted(tmp_path):
    fewer = evaluated("sft", {"hh": ["rash", "no"], "other": ["x"]})
    with scripted_server(prefers_careful) as server:
        rows = rates(CANDIDATE, fewer, judge_at(server), Store(tmp_path / "s.jsonl"))
    assert {row.suite for row in rows} == {"hh"}
    assert {(row.count, row.unscored) for row in rows} == {(2, 2)}


def test_prompts_that_a_server_turned_down_are_counted_and_not_judged(tmp_path):
    """An answer that was never given is not an empty one, which a judge would find worse."""
    turned_down = [
        replace(one, response="", measures={"empty": None}) if one.response == "careful" else one
        for one in BASELINE.responses
    ]
    baseline = replace(BASELINE, responses=turned_down)
    with scripted_server(prefers_careful) as server:
        for one, other in ((CANDIDATE, baseline), (baseline, CANDIDATE)):
            rows = rates(one, other, judge_at(server), Store(tmp_path / "s.jsonl"))
            assert [(row.count, row.unscored) for row in rows if row.suite == "hh"] == [(3, 1)] * 2


def test_nothing_in_common_is_refused(tmp_path):
    with scripted_server(prefers_careful) as server:
        store, judge = Store(tmp_path / "s.jsonl"), judge_at(server)
        with pytest.raises(DataError, match="same --suite"):
            rates(CANDIDATE, evaluated("sft", {"other": ["x"]}), judge, store)
        with pytest.raises(DataError, match="cannot average over hexphi"):
            rates(CANDIDATE, BASELINE, judge, store, average=["hexphi"])
