"""Judges of a comparison: those that are away, those that changed, and win rates."""

import json
import re
from dataclasses import replace

import pytest
from judge_servers_for_tests import Answer, scripted_server

from dualselect.comparison import compare, comparing, read_comparison
from dualselect.comparison.checking import load_evaluation_setup
from dualselect.errors import ConfigError, JudgeError
from dualselect.evaluation.results import read_evaluation
from dualselect.judges.refusal import RefusalJudge


WORDING = """
measure: refusal
template: "{prompt} {response}"
pattern: "(?P<verdict>yes|no)"
values: {"yes": 1, "no": 0}
"""


def quiet(line):
    pass


def test_a_judge_that_did_not_answer_is_asked_again_once_a_call(forked, comparison_file, tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "judge.yaml").write_text(WORDING)
    answers = [Answer(status=503), Answer(status=401), Answer("yes")]
    runs = ["start model", "ema, seed 0"]
    with scripted_server(lambda request, before: answers[0]) as server:
        patience = {"base_url": server.base_url, "model": "m", "retries": 0, "timeout_seconds": 5}
        evaluation = {"suites": ["builtin:2"], "judges": [f"openai:{tmp_path / 'judge.yaml'}"], "max_new_tokens": 3}
        config = read_comparison(
            comparison_file(methods={"ema": None}, evaluation=evaluation | {"judge_settings": patience})
        )

        def compared():
            lines = []
            content = json.loads(compare(config, lines.append).read_text())
            begun = [line.split(" (")[0] for line in lines if not line.startswith(" ")]
            rates = [row for row in content["rows"] if row["metric"] == "refusal_rate"]
            return begun, [(row["value"], row["unscored"]) for row in rates], content

        # for a while it does not answer
        assert compared()[:2] == (runs, [(None, 2), (None, 2)])
        # then it refuses: the runs stay what they were
        answers.pop(0)
        begun, rates, content = compared()
        assert (begun, rates) == (runs, [(None, 2), (None, 2)])
        assert "OPENAI_API_KEY" in content["methods"][1]["failed"]["seed 0"]
        # then it answers
        answers.pop(0)
        begun, rates, content = compared()
        assert (begun, rates) == (runs, [(1.0, 0), (1.0, 0)])
        assert content["methods"][1]["failed"] == {}
        assert compared()[0] == []


def test_a_judge_of_another_wording_judges_anew_what_was_answered(forked, comparison_file, monkeypatch):
    config = read_comparison(comparison_file(methods=["sft"]))
    compare(config, quiet)
    run = config.folder / "runs" / "sft" / "seed-0"
    kept = [run / "adapter" / "adapter_model.safetensors", run / "cost.json", run / "plan.json"]
    before = [path.read_bytes() for path in kept]
    monkeypatch.setattr(RefusalJudge, "prompt_hash", "another")
    lines = []
    content = json.loads(compare(config, lines.append).read_text())
    assert [line.split(" (")[0] for line in lines if not line.startswith(" ")] == ["start model", "sft, seed 0"]
    assert not any(one["failed"] for one in content["methods"])
    assert [path.read_bytes() for path in kept] == before
    judged = read_evaluation(run / "evaluation" / "test.json")
    assert [judge.prompt_hash for judge in judged.judges] == ["another"]


def test_without_its_win_rates_a_table_is_still_one(forked, comparison_file, monkeypatch):
    class Away:
        name, prompt_hash = "away", "0"

        def preferences(self, pairs):
            raise JudgeError("nothing answers: start the server")

    def with_judge(config):
        return replace(load_evaluation_setup(config), pairwise=[Away()])

    monkeypatch.setattr(comparing, "load_evaluation_setup", with_judge)
    content = json.loads(compare(read_comparison(comparison_file()), quiet).read_text())
    assert {row["metric"] for row in content["rows"]} >= {"refusal_rate", "exact_match", "training_time_ratio"}
    assert not any("win_rate" in row["metric"] for row in content["rows"])
    for one in content["methods"][1:]:
        assert one["failed"] == {"win rates by away": "nothing answers: start the server"}


def prefers_a(request, before):
    code = re.search(r"\[answer A (\w+)\]", request["messages"][0]["content"])[1]
    return Answer(f"Better {code}: A")


def test_the_suites_of_safety_avg_are_checked_first_and_told(forked, comparison_file, tmp_path):
    prompts = tmp_path / "open.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Tell me of {n}."}) + "\n" for n in range(3)))
    with scripted_server(prefers_a) as server:
        evaluation = {
            "suites": ["builtin:2", f"chat:{prompts}"],
            "pairwise_judges": ["openai:preference"],
            "judge_settings": {"base_url": server.base_url, "model": "judge"},
            "max_new_tokens": 3,
        }
        wrong = read_comparison(comparison_file(evaluation=evaluation | {"average": ["opened"]}))
        with pytest.raises(ConfigError, match=r"average names opened, .* choose from builtin-harmful, open"):
            compare(wrong, quiet)
        assert not wrong.folder.exists()
        named = read_comparison(comparison_file(evaluation=evaluation | {"average": ["open", "builtin-harmful"]}))
        content = json.loads(compare(named, quiet).read_text())
        assert content["average"] == ["open", "builtin-harmful"]
        rows = {(row["metric"], row["suite"]): row for row in content["rows"] if row["method"] == "ema"}
        assert rows["safety_average", ""]["count"] == 5
        assert rows["win_rate", "open"]["purpose"] == rows["empty_rate", "open"]["purpose"] == "chat"
        default = json.loads(compare(read_comparison(comparison_file(evaluation=evaluation)), quiet).read_text())
        assert default["average"] == ["builtin-harmful"]
