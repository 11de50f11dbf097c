"""A judge behind a server that fails in every way: nothing is lost, and a second call finishes the job."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from judge_servers_for_tests import Answer, scripted_server, unused_address

from dualselect.errors import JudgeError
from dualselect.judges import Judged, JudgeSettings, load_judge


PATIENT = JudgeSettings(model="judge", concurrency=3, timeout_seconds=5, retries=3, backoff_seconds=0.001)
ITEMS = [
    Judged(str(number), [{"role": "user", "content": f"question {number}"}], f"answer <{number}>")
    for number in range(6)
]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def graded(request, before):
    """What a well-behaved judge says: item N gets 1 + N modulo 5."""
    text = request["messages"][-1]["content"]
    code = re.search(r"\[request (\w+)\]", text)[1]
    return Answer(f"It says little.\nGrade {code}: {1 + number_of(request) % 5}")


def number_of(request):
    return int(re.search(r"answer <(\d+)>", request["messages"][-1]["content"])[1])


RIGHT = {position: float(1 + position % 5) for position in range(6)}
FAULTS = {
    "rate limit": Answer(status=429, body=b'{"error": {"message": "slow down"}}'),
    "rate limit with a wait": Answer(status=429, headers={"Retry-After": "0.01"}),
    "rate limit until a date in the past": Answer(
        status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
    ),
    "rate limit until nonsense": Answer(status=429, headers={"Retry-After": "soon"}),
    "server error": Answer(status=500, body=b"Internal Server Error"),
    "overloaded": Answer(status=503),
    "half a reply": Answer("Grade", cut=True),
    "malformed JSON": Answer(body=b'{"choices": [{"message": {"content": "Gra'),
    "JSON of another kind": Answer(body=b'["Grade: 1"]'),
    "no choices": Answer(body=b'{"choices": []}'),
    "not UTF-8": Answer(body=b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_is_retried(fault):
    with scripted_server(lambda request, before: FAULTS[fault] if before < 2 else graded(request, before)) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url))
        assert {position: verdict.value for position, verdict in judge.verdicts(ITEMS)} == RIGHT
    assert len(server.requests) == 3 * len(ITEMS)


@pytest.mark.parametrize("fault", [*FAULTS, "wrong words", "nothing said", "null", "cut off", "too long", "hang"])
def test_a_fault_that_stays_leaves_items_unscored_and_a_second_call_finishes(fault):
    stays = FAULTS | {
        "wrong words": Answer("Grade: five out of five"),
        "nothing said": Answer("  \n"),
        "null": Answer(None, finish_reason="content_filter"),
        "cut off": Answer("Let me think about it", finish_reason="length"),
        "too long": Answer(status=400, body=b'{"error": {"message": "9000 tokens are too many"}}'),
        "hang": Answer(hang=True),
    }
    with scripted_server(
        lambda request, before: stays[fault] if number_of(request) % 2 else graded(request, before)
    ) as server:
        patient = replace(PATIENT, base_url=server.base_url, timeout_seconds=0.3 if fault == "hang" else 5, retries=1)
        found = dict(load_judge("openai:rubric", patient).verdicts(ITEMS))
        assert sorted(found) == list(range(6))
        assert {position: found[position].value for position in (0, 2, 4)} == {0: 1, 2: 3, 4: 5}
        assert all(found[position].value is None and found[position].reason for position in (1, 3, 5))
        assert {found[position].passing for position in (1, 3, 5)} == {fault in FAULTS or fault == "hang"}
        assert not any(found[position].passing for position in (0, 2, 4))

        server.script = graded
        missing = [position for position, verdict in found.items() if verdict.value is None]
        again = load_judge("openai:rubric", patient).verdicts([ITEMS[position] for position in missing])
        found |= {missing[place]: verdict for place, verdict in again}
    assert {position: verdict.value for position, verdict in found.items()} == RIGHT
    assert server.asked("answer <0>") == 1, "a scored item was asked again"


def test_reasons_and_replies_are_kept():
    faults = {
        1: Answer("I like it."),
        2: Answer(status=500, body=b"out of memory"),
        3: Answer("So\nfar", finish_reason="length"),
    }
    with scripted_server(lambda request, before: faults.get(number_of(request)) or graded(request, before)) as server:
        found = dict(load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url)).verdicts(ITEMS))
    assert "It says little." in found[0].raw
    assert (found[1].raw, "format" in found[1].reason) == ("I like it.", True)
    assert "500" in found[2].reason
    assert "out of memory" in found[2].reason
    assert "attempts: 4" in found[2].reason
    assert (found[3].raw, "max_tokens" in found[3].reason) == ("So\nfar", True)
    assert server.asked("answer <1>") == 1, "a reply that came is not asked for again in the same call"


def test_the_wait_that_the_server_asks_for_is_kept():
    later = Answer(status=429, headers={"Retry-After": "0.25"})
    with scripted_server(lambda request, before: graded(request, before) if before else later) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url))
        assert dict(judge.verdicts(ITEMS[:1]))[0].value == 1
    (first, _), (second, _) = server.requests
    assert second - first >= 0.25


@pytest.mark.parametrize("kind", ["seconds", "date"])
def test_a_wait_that_is_too_long_is_not_sat_out(kind):
    date = format_datetime(datetime.now(UTC) + timedelta(hours=5), usegmt=True)
    tomorrow = Answer(status=429, headers={"Retry-After": "86400" if kind == "seconds" else date})
    with scripted_server(lambda request, before: tomorrow) as server:
        found = dict(load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url)).verdicts(ITEMS[:2]))
    assert all("429" in found[position].reason and found[position].passing for position in (0, 1))
    assert len(server.requests) == 2


def test_verdicts_come_out_as_they_arrive():
    with scripted_server(
        lambda request, before: Answer(hang=True) if number_of(request) == 0 else graded(request, before)
    ) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url, timeout_seconds=60))
        coming = judge.verdicts(ITEMS)
        first = [next(coming)[0] for _ in range(5)]
        coming.close()
    assert sorted(first) == [1, 2, 3, 4, 5]


def test_no_more_requests_at_once_than_allowed():
    with scripted_server(graded) as server:
        list(
            load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url, concurrency=2)).verdicts(ITEMS * 3)
        )
    assert server.most_at_once <= 2


def test_refused_connection_at_the_start_says_what_to_start():
    address = unused_address()
    judge = load_judge("openai:rubric", replace(PATIENT, base_url=address, backoff_seconds=60))
    with pytest.raises(JudgeError, match=re.escape(address) + r".*Start the server"):
        list(judge.verdicts(ITEMS))


def test_a_server_that_dies_loses_nothing():
    served = 0

    def dies(request, before):
        nonlocal served
        served += 1
        if served == 3:
            server.stop()
        return graded(request, before)

    found = {}
    with scripted_server(dies) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url, concurrency=1))
        with pytest.raises(JudgeError, match="only what is missing is asked"):
            found.update(judge.verdicts(ITEMS))
    assert sorted(found) == [0, 1, 2]
    with scripted_server(graded) as second:
        another = load_judge("openai:rubric", replace(PATIENT, base_url=second.base_url))
        assert another.prompt_hash == judge.prompt_hash, "the verdicts of the first call are still valid"
        found |= {3 + place: verdict for place, verdict in another.verdicts(ITEMS[3:])}
    assert {position: verdict.value for position, verdict in found.items()} == RIGHT
    assert len(second.requests) == 3


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (Answer(status=401, body=b'{"error": {"message": "bad key"}}'), "OPENAI_API_KEY"),
        (Answer(status=404, body=b'{"error": {"message": "no such model"}}'), "no model judge"),
        (Answer(status=402), "account"),
        (Answer(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}'), "account"),
    ],
)
def test_what_hits_every_request_is_an_error_at_once(answer, advice):
    with scripted_server(lambda request, before: answer) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url, concurrency=1))
        with pytest.raises(JudgeError, match=advice):
            list(judge.verdicts(ITEMS))
    assert len(server.requests) == 1


def test_after_an_error_nothing_is_begun_and_what_was_under_way_is_yielded():
    items = [Judged(str(number), ITEMS[0].prompt, f"answer <{number}>") for number in range(90)]

    def script(request, before):
        return Answer(status=401) if number_of(request) == 2 else graded(request, before)

    found = {}
    with scripted_server(script) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url, concurrency=3))
        with pytest.raises(JudgeError):
            found.update(judge.verdicts(items))
    answered = {number_of(request) for _, request in server.requests} - {2}
    assert set(found) == answered
    assert len(answered) < 80


def test_the_key_comes_from_the_environment_only(monkeypatch):
    with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
        load_judge("openai:rubric", PATIENT)
    with scripted_server(graded) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        list(load_judge("openai:rubric", PATIENT).verdicts(ITEMS[:1]))
        monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
        list(load_judge("openai:rubric", PATIENT).verdicts(ITEMS[:1]))
    assert [headers["authorization"] for headers in server.headers] == ["Bearer none", "Bearer from-the-environment"]


def test_requests_are_greedy_and_can_be_changed():
    with scripted_server(graded) as server:
        settings = replace(PATIENT, base_url=server.base_url)
        list(load_judge("openai:rubric", settings).verdicts(ITEMS[:1]))
        list(load_judge("openai:rubric", replace(settings, request={"max_completion_tokens": 9})).verdicts(ITEMS[:1]))
    first, second = (request for _, request in server.requests)
    assert (first["temperature"], first["max_tokens"], first["model"]) == (0, 512, "judge")
    assert {"max_completion_tokens", "messages", "model"} == set(second)


def test_text_that_cannot_be_sent_is_unscored():
    broken = Judged("x", ITEMS[0].prompt, "half \ud83d a character")
    with scripted_server(graded) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url))
        found = dict(judge.verdicts([broken, *ITEMS[1:]]))
    assert "cannot be sent" in found[0].reason
    assert len(found) == 6
    assert all(json.dumps(found[position].value) for position in range(1, 6))


def test_half_a_character_in_a_reply_can_be_written():
    with scripted_server(lambda request, before: Answer("half \ud83d a character")) as server:
        judge = load_judge("openai:rubric", replace(PATIENT, base_url=server.base_url))
        assert dict(judge.verdicts(ITEMS[:1]))[0].raw.encode() == b"half ? a character"
