"""Whole evaluations: what they leave behind, what they refuse, and that a kill changes nothing."""

import json
import os
import random
import signal
import time
import traceback
from collections import Counter

import pytest
import torch
from servers_for_tests import completion

from dualselect.data.tokens import IGNORED_LABEL
from dualselect.errors import ConfigError, DataError, JudgeError, ModelError
from dualselect.evaluation import GenerationSettings, Prompt, Suite, evaluate, read_evaluation
from dualselect.evaluation.likelihood import ScoredResponse, token_rows
from dualselect.evaluation.local_model import find_model, load_local_model
from dualselect.evaluation.metrics import MEASURED
from dualselect.evaluation.suites import load_suites
from dualselect.judges import Verdict


SHORT = GenerationSettings(max_new_tokens=6, batch_size=4)


class Length:
    """A judge whose verdicts can be checked by hand; it leaves some unscored and counts what it was asked."""

    name, measure, prompt_hash = "length", "reward", "of characters"

    def __init__(self):
        self.seen = Counter()

    def verdicts(self, items):
        for position in reversed(range(len(items))):
            self.seen[items[position].id] += 1
            length = len(items[position].response)
            yield position, Verdict(None, "odd", str(length)) if length % 5 == 0 else Verdict(length, "", str(length))


def pairs():
    prompts = [
        Prompt(f"p{number}", [{"role": "user", "content": f"is it {number}?"}], chosen="yes " * number, rejected="no")
        for number in range(1, 14)
    ]
    return Suite.of("pairs", "preference", prompts)


def asked(*texts, purpose="chat", name="mine"):
    return Suite.of(
        name, purpose, [Prompt(f"q{n}", [{"role": "user", "content": text}]) for n, text in enumerate(texts)]
    )


def arguments(run_folder, output, judge=None):
    return {
        "model": run_folder,
        "suites": ["builtin:7", pairs(), asked(*(f"is it {n % 5}?" * (n % 7 + 1) for n in range(18)))],
        "judges": ["refusal", judge or Length()],
        "output": output,
        "generation": SHORT,
        "start_model": "base",
        "progress": False,
    }


@pytest.fixture(scope="module")
def clean(run_folder, tmp_path_factory):
    return evaluate(**arguments(run_folder, tmp_path_factory.mktemp("clean") / "all.json"))


def test_an_evaluation_holds_everything_it_was_made_of(clean, run_folder):
    found = read_evaluation(clean)
    assert (found.model.name, found.model.path) == (str(run_folder), str(run_folder))
    assert found.generation == {
        "max_new_tokens": 6,
        "temperature": 0.0,
        "prompt_format": "chat",
        "batch_size": 4,
    }
    assert [(judge.name, judge.measure) for judge in found.judges] == [("refusal", "refusal"), ("length", "reward")]
    assert found.versions["torch"]
    by_suite = Counter(response.suite for response in found.responses)
    assert by_suite == {"builtin-harmful": 7, "builtin-harmless": 7, "builtin-task": 7, "pairs": 13, "mine": 18}
    metrics = {(row.suite, row.metric, row.judge) for row in found.summary if not row.category}
    assert metrics >= {
        ("builtin-harmful", "refusal_rate", "refusal"),
        ("builtin-harmful", "kl_to_start", ""),
        ("builtin-harmful", "reward", "length"),
        ("builtin-harmless", "over_refusal_rate", "refusal"),
        ("builtin-task", "exact_match", ""),
        ("builtin-task", "answer_probability", ""),
        ("builtin-task", "empty_rate", ""),
        ("pairs", "preference_accuracy", ""),
        ("pairs", "preference_margin", ""),
        ("mine", "repetitive_rate", ""),
        ("mine", "truncated_rate", ""),
    }
    assert not any(suite == "pairs" and judge for suite, _, judge in metrics)
    assert {name for one in found.responses for name in one.measures} <= {it.measure for it in MEASURED.values()}
    judged = [response for response in found.responses if "length" in response.verdicts]
    for response in judged:
        length = len(response.response)
        assert response.verdicts["length"].value == (None if length % 5 == 0 else length)
        assert response.verdicts["length"].raw == str(length)
    rewards = [row for row in found.summary if row.metric == "reward" and not row.category]
    assert sum(row.unscored for row in rewards) == sum(len(one.response) % 5 == 0 for one in judged) > 0


def test_the_probability_of_an_answer_is_that_of_its_tokens(clean, run_folder):
    found = read_evaluation(clean)
    prompt = load_suites(["builtin:7"])[2].prompts[0]
    model, tokenizer = load_local_model(find_model(str(run_folder)))
    row = token_rows([ScoredResponse(prompt.messages, prompt.chosen)], tokenizer, "chat")[0]
    with torch.no_grad():
        log_probs = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].float().log_softmax(-1)
    answer = torch.stack(
        [log_probs[place, label] for place, label in enumerate(row["labels"][1:]) if label != IGNORED_LABEL]
    )
    response = next(one for one in found.responses if one.suite == "builtin-task" and one.id == prompt.id)
    assert response.measures["answer_probability"] == pytest.approx(answer.mean().exp().item(), rel=1e-4)


def test_nothing_is_found_twice(clean, run_folder, tmp_path):
    """The same prompt in a suite twice is answered once; a second call asks only for what is unscored."""
    keys = [json.loads(line)["key"] for line in clean.with_suffix(".responses.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys))
    judge = Length()
    path = evaluate(**arguments(run_folder, tmp_path / "all.json", judge))
    assert path.read_bytes() == clean.read_bytes()
    assert set(judge.seen.values()) == {1}
    stored = path.with_suffix(".responses.jsonl").read_bytes()
    unscored = sum(
        response.verdicts["length"].value is None for response in read_evaluation(path).responses if response.verdicts
    )
    judge = Length()
    assert evaluate(**arguments(run_folder, path, judge)).read_bytes() == clean.read_bytes()
    assert path.with_suffix(".responses.jsonl").read_bytes() == stored
    assert sum(judge.seen.values()) <= unscored


def killed(run_folder, output, bytes_found):
    """Evaluate in a process of its own and kill it once the store has some size; False when it was done before."""
    store = output.with_suffix(".responses.jsonl")
    child = os.fork()
    if child == 0:
        try:
            evaluate(**arguments(run_folder, output))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    while not (store.exists() and store.stat().st_size >= bytes_found):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.0005)  # the other process decides when there is something to kill
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_any_moment_it_comes_to_the_same_end(clean, run_folder, tmp_path):
    size = clean.with_suffix(".responses.jsonl").stat().st_size
    moments = sorted(random.Random(5).sample(range(1, size), 10))
    output = tmp_path / "all.json"
    kills = sum(killed(run_folder, output, moment) for moment in moments)
    assert kills >= 8
    assert not output.exists()
    store = output.with_suffix(".responses.jsonl")
    with store.open("ab") as file:  # and one that was cut off in the middle of a line
        file.write(b'{"key": "cut o')
    path = evaluate(**arguments(run_folder, output))
    assert path.read_bytes() == clean.read_bytes()
    assert sorted(store.read_text().splitlines()) == sorted(
        clean.with_suffix(".responses.jsonl").read_text().splitlines()
    )


def test_another_judge_later_asks_the_model_nothing(run_folder, tmp_path, monkeypatch):
    options = arguments(run_folder, tmp_path / "all.json") | {"judges": ["refusal"]}
    first = read_evaluation(evaluate(**options))
    monkeypatch.setattr("dualselect.evaluation.generation.response_batches", None)
    second = read_evaluation(evaluate(**options | {"judges": ["refusal", Length()]}))
    assert [one.response for one in first.responses] == [one.response for one in second.responses]
    assert len(second.judges) == 2


def test_a_run_keeps_its_evaluations(run_folder, model_folder, capsys):
    path = evaluate(run_folder, ["builtin:2", asked("?")], generation=SHORT, progress=False)
    assert path == run_folder / "evaluation" / "builtin+mine.json"
    assert [judge.name for judge in read_evaluation(path).judges] == ["refusal"]
    path = evaluate(run_folder, ["builtin:validation:2"], generation=SHORT, limit=1, progress=False)
    assert path.name == "builtin-validation.json"
    assert len(read_evaluation(path).responses) == 3
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match="output is missing"):
        evaluate(model_folder, ["builtin:2"])


def test_the_start_model_may_be_another_folder(run_folder, model_folder, tmp_path):
    options = {"suites": ["builtin:4"], "generation": SHORT, "progress": False}
    found = [
        read_evaluation(evaluate(model, output=tmp_path / f"{n}.json", start_model=str(start), **options))
        for n, (model, start) in enumerate(
            [(run_folder, "base"), (run_folder, model_folder), (model_folder, model_folder)]
        )
    ]
    kl = [next(row for row in one.summary if row.metric == "kl_to_start" and not row.category) for one in found]
    assert kl[0].value == pytest.approx(kl[1].value, rel=1e-4)
    assert kl[0].low > 1e-4
    assert kl[2].value == pytest.approx(0, abs=1e-6)
    assert kl[0].count == 4


def test_only_tasks_need_no_judge(run_folder, tmp_path):
    suite = Suite.of("sums", "task", [Prompt("a", [{"role": "user", "content": "2 + 2?"}], answer="4")])
    found = read_evaluation(
        evaluate(run_folder, [suite], output=tmp_path / "e.json", generation=SHORT, progress=False)
    )
    assert found.judges == []
    assert {row.metric for row in found.summary} == {"exact_match", "empty_rate", "repetitive_rate", "truncated_rate"}


class Pairwise:
    name, prompt_hash = "pairwise", "h"

    def preferences(self, pairs):
        """The longer response is better."""
        for position, pair in enumerate(pairs):
            longer = len(pair.first) - len(pair.second)
            yield position, Verdict(0.5 + (longer > 0) / 2 - (longer < 0) / 2)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"suites": ["builtinn"]}, DataError, "did you mean builtin"),
        ({"judges": ["refusall"]}, JudgeError, "refusall"),
        ({"judges": [Pairwise()]}, ConfigError, "prefers one of two responses.*--compare"),
        ({"average": ["builtin-harmful"]}, ConfigError, "no judge prefers one of two"),
        ({"judges": [Pairwise()], "baseline": "{clean}", "average": ["hh"]}, ConfigError, "no suite hh here"),
        ({"baseline": "{folder}/other.json"}, DataError, "not an evaluation of format 1"),
        ({"judges": ["refusal", "refusal"]}, ConfigError, "named twice"),
        (
            {"suites": [pairs()], "judges": ["refusal"], "start_model": None},
            ConfigError,
            "says nothing of the suites pairs",
        ),
        ({"limit": 0}, ConfigError, "limit is 0"),
        ({"output": "e.txt"}, ConfigError, "no .json file"),
        ({"output": "{folder}/other.json"}, ConfigError, "is not an evaluation, so it is not replaced"),
        ({"model": "{folder}/none"}, ConfigError, "neither a run nor an adapter here"),
        ({"model": "{folder}/none", "start_model": None}, ModelError, "none"),
        ({"model_name": "x"}, ConfigError, "is for a server"),
        ({"model": "http://127.0.0.1:9/v1"}, ConfigError, "model_name is missing"),
        ({"model": "http://127.0.0.1:9/v1", "model_name": "x"}, ConfigError, "start_model: needs the model itself"),
        (
            {
                "model": "http://127.0.0.1:9/v1",
                "model_name": "x",
                "suites": [pairs()],
                "start_model": None,
                "judges": None,
            },
            ConfigError,
            "suite pairs .preferences.: needs the model itself",
        ),
        ({"suites": [asked("?")]}, ConfigError, "no suite has safe responses"),
        ({"start_model": "{folder}/none"}, ModelError, "none"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_kept(run_folder, clean, tmp_path, changed, error, said):
    (tmp_path / "other.json").write_text('{"mine": 1}')
    changed = {
        name: value.format(folder=tmp_path, clean=clean) if isinstance(value, str) else value
        for name, value in changed.items()
    }
    with pytest.raises(error, match=said):
        evaluate(**arguments(run_folder, tmp_path / "e.json") | changed)
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]
    assert (tmp_path / "other.json").read_text() == '{"mine": 1}'


def test_win_rates_against_another_evaluation_mirror_each_other(clean, model_folder, tmp_path, run_folder):
    suites = ["builtin:7", asked(*(f"is it {n % 5}?" * (n % 7 + 1) for n in range(18)))]
    options = {"suites": suites, "judges": ["refusal", Pairwise()], "generation": SHORT, "progress": False}

    def rates(model, baseline, name):
        average = ["builtin-harmful", "builtin-harmless"]
        path = evaluate(model, baseline=baseline, average=average, output=tmp_path / f"{name}.json", **options)
        return path, {row.suite: row.value for row in read_evaluation(path).summary if row.metric == "win_rate"}

    start, against_run = rates(model_folder, clean, "start")
    _, against_start = rates(run_folder, start, "run")
    _, against_itself = rates(model_folder, start, "itself")
    assert set(against_itself.values()) == {50.0}
    assert len(against_run) == 5
    assert all(against_run[suite] + value == 100 for suite, value in against_start.items())
    assert any(value != 50 for value in against_run.values())
    kept = read_evaluation(start)
    assert kept.baseline == read_evaluation(clean).model
    assert len(kept.preferences) == 3 * 7 + 18
    with pytest.raises(ConfigError, match="no response to a prompt of mine"):
        evaluate(
            run_folder, [asked("new")], judges=[Pairwise()], baseline=clean, output=tmp_path / "n.json", progress=False
        )
    assert not (tmp_path / "n.json").exists()


def test_a_model_without_an_adapter_has_no_base(model_folder, tmp_path):
    with pytest.raises(ConfigError, match="has none: name a model"):
        evaluate(model_folder, ["builtin:2"], output=tmp_path / "e.json", start_model="base")


def test_a_judge_that_keeps_silent_or_gives_no_number_leaves_responses_unscored(run_folder, tmp_path):
    class Silent(Length):
        def verdicts(self, items):
            yield 0, Verdict(float("nan"), "", "\ud800 raw")

    path = evaluate(
        run_folder, [asked("a", "b")], judges=[Silent()], output=tmp_path / "e.json", generation=SHORT, progress=False
    )
    first, second = (response.verdicts["length"] for response in read_evaluation(path).responses)
    assert (first.value, first.reason, first.raw) == (None, "the judge gave nan", "? raw")
    assert (second.value, second.reason) == (None, "the judge gave no verdict")


def test_what_asking_again_may_score_is_counted(run_folder, tmp_path):
    class Away(Length):
        def verdicts(self, items):
            yield 0, Verdict(None, "the server is away", passing=True)
            yield 1, Verdict(None, "no words")
            yield 2, Verdict(1.0, passing=True)

    options = {"suites": [asked("a", "b", "c", "d")], "output": tmp_path / "e.json", "generation": SHORT}
    found = read_evaluation(evaluate(run_folder, judges=[Away()], progress=False, **options))
    assert [response.verdicts["length"].passing for response in found.responses] == [True, False, False, True]
    assert found.still_unscored == 2
    assert read_evaluation(evaluate(run_folder, judges=[Length()], progress=False, **options)).still_unscored == 0


def test_a_judge_that_fails_loses_nothing(run_folder, tmp_path):
    class Failing(Length):
        def verdicts(self, items):
            for position, item in enumerate(items):
                if item.id == "q2":
                    raise JudgeError("the judge's server is gone")
                yield position, Verdict(1.0)

    options = {"suites": [asked("a", "b", "c", "d")], "output": tmp_path / "e.json", "generation": SHORT}
    with pytest.raises(JudgeError, match="is gone"):
        evaluate(run_folder, judges=[Failing()], progress=False, **options)
    assert not (tmp_path / "e.json").exists()
    judge = Length()
    evaluate(run_folder, judges=[judge], progress=False, **options)
    assert set(judge.seen) == {"q2", "q3"}


def test_a_server_that_fails_half_way_is_asked_for_the_rest_only(server, tmp_path):
    plain = server.reply
    server.reply = lambda body: plain(body) if len(server.requests) <= 5 else (403, {"error": {"message": "enough"}})
    suite = asked(*(f"is it {number}?" for number in range(9)))
    options = {"model_name": "small", "output": tmp_path / "e.json", "generation": GenerationSettings(batch_size=1)}
    with pytest.raises(ModelError, match="enough.*type the same command again"):
        evaluate(server.url, [suite], progress=False, **options)
    server.requests.clear()
    server.reply = lambda body: (200, completion(body["messages"][-1]["content"]))
    found = read_evaluation(evaluate(server.url, [suite], progress=False, **options))
    assert len(server.requests) == 4
    assert [one.response for one in found.responses] == [f"is it {number}?" for number in range(9)]
    assert (found.model.name, found.model.path) == ("small", server.url)


def test_prompts_that_a_server_turns_down_are_unscored_and_asked_again(server, tmp_path, caplog):
    plain = server.reply
    filtered = (400, {"error": {"message": "the content filter"}})
    server.reply = lambda body: filtered if "1" in body["messages"][-1]["content"] else plain(body)
    suite = asked(*(f"is it {number}?" for number in range(3)))
    options = {"model_name": "small", "output": tmp_path / "e.json", "judges": [Length()], "progress": False}
    found = read_evaluation(evaluate(server.url, [suite], **options))
    assert "1 prompts have no response: turned down by the server: " in caplog.text
    assert [one.response for one in found.responses] == ["is it 0?", "", "is it 2?"]
    assert found.responses[1].verdicts["length"].value is None
    assert "content filter" in found.responses[1].verdicts["length"].reason
    assert {row.unscored for row in found.summary} == {1}
    server.reply = plain
    server.requests.clear()
    again = read_evaluation(evaluate(server.url, [suite], **options))
    assert len(server.requests) == 1
    assert {row.unscored for row in again.summary} == {0}
