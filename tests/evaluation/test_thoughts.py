"""Models that think aloud: only their answers are judged, matched, counted and compared."""

from dataclasses import replace

import pytest
import torch
from models_for_tests import tiny_model
from servers_for_tests import completion
from tokenizers_for_tests import chatml_tokenizer

from dualselect.evaluation import GenerationSettings, Prompt, Suite, evaluate, generate_responses, read_evaluation
from dualselect.evaluation.against_baseline import preferences
from dualselect.evaluation.measuring import _kept
from dualselect.evaluation.store import Store
from dualselect.judges import Verdict, is_refusal


DOUBT = "I could say: sure, here is how. " * 8
NO = "I'm sorry, but I can't help with that."
THINKS = ("<think>", "</think>")


class Prefers:
    """A pairwise judge that keeps what it was shown."""

    name, measure, prompt_hash = "prefers", "preference", "first"

    def __init__(self):
        self.shown = []

    def preferences(self, pairs):
        for position, pair in enumerate(pairs):
            self.shown.append((pair.first, pair.second))
            yield position, Verdict(1.0)


def asked(purpose, *texts, **fields):
    return Suite.of(purpose, purpose, [Prompt(text, [{"role": "user", "content": text}], **fields) for text in texts])


def by_id(path):
    return {one.id: one for one in read_evaluation(path).responses}


def test_of_a_server_only_the_answers_are_judged(server, tmp_path, caplog):
    said = {
        "aloud": completion(f"<think>{DOUBT}</think>\n\n{NO}"),
        "inside": completion(f"{DOUBT}</think>{NO}"),
        "apart": completion(NO),
        "cut": completion(f"<think>{DOUBT}", "length"),
        "cut apart": completion("", "length"),
        "2+2": completion("<think>The answer is 5. No.</think>The answer is 4."),
    }
    for name in ("apart", "cut apart"):
        said[name]["choices"][0]["message"]["reasoning_content"] = DOUBT
    server.reply = lambda body: (200, said[body["messages"][-1]["content"]])
    harmful = asked("harmful", *(name for name in said if name != "2+2"))
    suites = [harmful, asked("task", "2+2", answer="4")]
    options = {"model_name": "m", "output": tmp_path / "out.json", "progress": False}
    path = evaluate(server.url, suites, judges=["refusal"], **options)
    found = by_id(path)
    for name in ("aloud", "inside", "apart"):
        assert (found[name].response, found[name].thought) == (NO, DOUBT.strip())
        assert found[name].verdicts["refusal"].value == 1
        assert found[name].measures == {"empty": 0, "repetitive": 0, "truncated": 0}
    for name in ("cut", "cut apart"):
        assert (found[name].response, found[name].thought) == ("", DOUBT.strip())
        assert found[name].verdicts["refusal"].value is None
        assert "cut inside its thoughts: raise max_new_tokens" in found[name].verdicts["refusal"].reason
        assert found[name].measures == {"empty": None, "repetitive": None, "truncated": 1}
    assert found["2+2"].measures["exact_match"] == 1
    rates = {row.metric: row for row in read_evaluation(path).summary if row.suite == "harmful"}
    assert (rates["refusal_rate"].value, rates["refusal_rate"].count, rates["refusal_rate"].unscored) == (1, 3, 2)
    assert "2 of 5 prompts are unscored: the response was cut inside its thoughts" in caplog.text
    asked_before = len(server.requests)
    assert by_id(evaluate(server.url, suites, judges=["refusal"], **options)) == found
    assert len(server.requests) == asked_before
    judge, ours = Prefers(), read_evaluation(path)
    theirs = replace(ours, responses=[replace(one, response="Sure.", measures={}) for one in ours.responses])
    with Store.opened(tmp_path / "store.jsonl") as store:
        compared = preferences(ours, theirs, judge, store, progress=False)
    assert {text for pair in judge.shown for text in pair} == {NO, "The answer is 4.", "Sure."}
    assert compared["harmful"].left_out == 2


class Scripted:
    """Makes a model's `generate` say given texts, as tokens."""

    def __init__(self, model, tokenizer, *texts):
        self.texts, self.tokenizer = texts, tokenizer
        model.generate = self.generate

    def generate(self, input_ids, **_):
        said = self.tokenizer(list(self.texts), return_tensors="pt", padding=True, add_special_tokens=False)
        return torch.cat([input_ids, said["input_ids"]], dim=1)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("marks", [THINKS, ("[THINK]", "[/THINK]")])
def test_of_a_model_thoughts_are_told_apart_whether_their_marks_are_special_tokens_or_not(marks, special):
    tokenizer = chatml_tokenizer()
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": list(marks)}, replace_extra_special_tokens=False)
    model = tiny_model("llama", len(tokenizer))
    opening, closing = marks
    Scripted(model, tokenizer, f"{opening}\nI can help.\n{closing}\n\n{NO}<|im_end|>")
    prompts = [[{"role": "user", "content": "is it?"}]]
    assert generate_responses(model, tokenizer, prompts, progress=False) == [NO]


def test_a_template_may_open_the_thought(model_folder, tmp_path):
    folder = tmp_path / "thinking"
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
    )
    tiny_model("llama", len(tokenizer), seed=3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    short = GenerationSettings(max_new_tokens=4)
    found = by_id(
        evaluate(folder, [asked("harmful", "is it?")], output=tmp_path / "out.json", generation=short, progress=False)
    )
    (response,) = found.values()
    assert response.response == ""
    assert response.thought
    assert "cut inside its thoughts" in response.verdicts["refusal"].reason


def test_what_an_older_version_kept_is_read_with_its_thoughts_aside():
    old = _kept({"text": f"<think>{DOUBT}</think>{NO}", "cut": False, "problem": ""})
    assert (old.text, old.thought) == (NO, DOUBT.strip())


def test_a_refusal_is_looked_for_behind_the_thoughts():
    assert is_refusal(f"<think>{DOUBT}</think>{NO}")
    assert not is_refusal(f"<think>{NO}</think>Sure, here it is.")
    assert not is_refusal(f"<think>{NO}")
