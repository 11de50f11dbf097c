"""Who answers: what a model's name stands for, local models in their own prompt format, and a real loopback server."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from servers_for_tests import completion
from tokenizers_for_tests import gemma_tokenizer

from dualselect.data.rendering import HumanAssistantText
from dualselect.errors import DataError, ModelError
from dualselect.evaluation import GenerationSettings, Prompt
from dualselect.evaluation.local_model import find_model, load_local_model
from dualselect.evaluation.responder import LocalResponder, ServerResponder


SETTINGS = GenerationSettings(max_new_tokens=4, batch_size=2)


def prompts(count):
    return [Prompt(f"p{number}", [{"role": "user", "content": f"is it {number}?"}]) for number in range(count)]


def responder(name, prompt_format="chat"):
    return LocalResponder(str(name), str(name), *load_local_model(find_model(str(name))), SETTINGS, prompt_format)


def merged(batches):
    return {number: value for batch in batches for number, value in batch.items()}


def test_a_run_an_adapter_and_a_model_are_told_apart(run_folder, model_folder, tmp_path):
    run = find_model(str(run_folder))
    assert (run.base, run.adapter, run.run) == (str(model_folder), run_folder / "adapter", run_folder)
    assert run.evaluations == run_folder / "evaluation"
    adapter = find_model(str(run_folder / "adapter"))
    assert (adapter.base, adapter.adapter, adapter.evaluations) == (str(model_folder), run_folder / "adapter", None)
    shutil.copytree(run_folder / "adapter", tmp_path / "alone")
    assert find_model(str(tmp_path / "alone")).base == "moved/away"
    assert find_model(str(model_folder)).adapter is None
    assert (find_model("owner/name").base, find_model("owner/name").path) == ("owner/name", "owner/name")
    shutil.copytree(model_folder, tmp_path / "merged" / "adapter")
    whole = find_model(str(tmp_path / "merged"))
    assert (whole.base, whole.adapter, whole.run) == (str(tmp_path / "merged/adapter"), None, tmp_path / "merged")


def test_a_run_is_its_base_with_its_adapter(run_folder, model_folder):
    model, _ = load_local_model(find_model(str(run_folder)))
    assert isinstance(model, PeftModel)
    base, _ = load_local_model(find_model(str(model_folder)))
    ids = torch.arange(9)[None]
    with torch.no_grad():
        plain = base(input_ids=ids).logits
        assert not torch.allclose(model(input_ids=ids).logits, plain, atol=1e-3)
        with model.disable_adapter():
            assert torch.equal(model(input_ids=ids).logits, plain)


def test_the_tokenizer_of_an_adapter_is_its_own_where_it_has_one(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    tokenizer = gemma_tokenizer()
    tokenizer.save_pretrained(tmp_path / "run" / "adapter")
    assert load_local_model(find_model(str(tmp_path / "run")))[1].chat_template == tokenizer.chat_template


def test_weights_adapter_and_template_enter_the_fingerprint(run_folder, model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "other")
    config = tmp_path / "other" / "chat_template.jinja"
    config.write_text(config.read_text() + " ")
    found = [responder(name).record.fingerprint for name in (run_folder, model_folder, tmp_path / "other")]
    assert len(set(found)) == 3
    shutil.copytree(run_folder, tmp_path / "copy")
    assert responder(tmp_path / "copy").record.fingerprint == found[0]


def test_prompts_end_as_training_text_goes_on(run_folder):
    """A blank of its own before the response would be a token that training never saw there."""
    human = responder(run_folder, "human_assistant")
    row = {"prompt": prompts(1)[0].messages, "completion": [{"role": "assistant", "content": "Sure"}]}
    trained = human.tokenizer(HumanAssistantText(human.tokenizer)(row, "row").text)["input_ids"]
    asked = human.tokenizer(human._rendered(prompts(1)[0]))["input_ids"]
    assert trained[: len(asked)] == asked


def test_the_strength_of_an_adapter_enters_the_fingerprint(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    config = tmp_path / "run" / "adapter" / "adapter_config.json"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps(facts | {"lora_alpha": 2 * facts["lora_alpha"]}))
    assert responder(tmp_path / "run").record.fingerprint != responder(run_folder).record.fingerprint


def test_an_unfinished_run_is_refused_with_what_to_type(run_folder, tmp_path):
    (tmp_path / "checkpoint-4").mkdir()
    shutil.copy(run_folder / "config.yaml", tmp_path)
    with pytest.raises(ModelError, match=r"not finished.*--resume, or name a checkpoint: .*checkpoint-4"):
        find_model(str(tmp_path))


def test_an_adapter_that_fits_nothing_is_refused(run_folder, tmp_path):
    shutil.copytree(run_folder / "adapter", tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    facts = json.loads(config.read_text())
    config.write_text(json.dumps(facts | {"target_modules": ["no_such_layer"], "base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say which model"):
        find_model(str(tmp_path / "adapter"))
    shutil.copy(run_folder / "config.yaml", tmp_path)
    with pytest.raises(ModelError, match="could not be put on"):
        load_local_model(find_model(str(tmp_path)))


def test_the_prompt_format_of_the_run_is_kept(run_folder, tmp_path):
    shutil.copytree(run_folder, tmp_path / "run")
    with (tmp_path / "run" / "config.yaml").open("a") as file:
        file.write("prompt_format: human_assistant\n")
    assert find_model(str(tmp_path / "run")).prompt_format == "human_assistant"
    shutil.copytree(run_folder / "adapter", tmp_path / "run" / "checkpoint-3")
    assert find_model(str(tmp_path / "run" / "checkpoint-3")).prompt_format == "human_assistant"
    assert find_model(str(run_folder)).prompt_format == "chat"
    chat, human = responder(run_folder), responder(run_folder, "human_assistant")
    assert chat._rendered(prompts(1)[0]) == "<|im_start|>user\nis it 0?<|im_end|>\n<|im_start|>assistant\n"
    assert human._rendered(prompts(1)[0]) == "Human: is it 0?\nAssistant:"
    assert merged(chat.responses(prompts(3), ())) != merged(human.responses(prompts(3), ()))
    assert chat.decisive != human.decisive


def test_prompts_that_the_template_refuses_are_named_before_any_is_asked(model_folder, tmp_path):
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text("{{ raise_exception('no system turn, please') }}")
    local = responder(tmp_path / "model")
    with pytest.raises(DataError, match="prompt p0.*no system turn"):
        local.check(prompts(2))


def test_a_server_is_asked_what_is_missing_with_the_settings(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-the-environment")
    asked = ServerResponder(server.url, "small", GenerationSettings(max_new_tokens=7, batch_size=2))
    found = merged(asked.responses(prompts(5), {1, 3}))
    assert {number: one.text for number, one in found.items()} == {0: "is it 0?", 2: "is it 2?", 4: "is it 4?"}
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer key-of-the-environment"
    assert {name: value for name, value in body.items() if name != "messages"} == {
        "model": "small",
        "max_tokens": 7,
        "temperature": 0.0,
    }
    sampled = ServerResponder(server.url, "small", GenerationSettings(temperature=0.7, top_p=0.9, seed=3))
    merged(sampled.responses(prompts(1), ()))
    assert {"temperature": 0.7, "top_p": 0.9, "seed": 3}.items() <= server.requests[-1][2].items()


def test_what_a_server_says_is_taken_as_it_is(server):
    said = iter([completion(None), completion("half a", "length"), completion(" broken \ud83d ")])
    server.reply = lambda _: (200, next(said))
    asked = ServerResponder(server.url, "small", GenerationSettings(batch_size=1))
    found = merged(asked.responses(prompts(3), ()))
    assert [(one.text, one.cut) for one in found.values()] == [("", False), ("half a", True), ("broken ?", False)]


def test_a_prompt_that_is_turned_down_has_the_reason_in_place_of_a_response(server):
    plain = server.reply
    filtered = (400, {"error": {"message": "the content filter"}})
    server.reply = lambda body: filtered if "1" in body["messages"][-1]["content"] else plain(body)
    found = merged(ServerResponder(server.url, "small", SETTINGS).responses(prompts(3), ()))
    assert [found[number].text for number in range(3)] == ["is it 0?", "", "is it 2?"]
    assert "content filter" in found[1].problem
    message = completion(None)["choices"][0]["message"] | {"refusal": "I will not."}
    server.reply = lambda _: (200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    assert merged(ServerResponder(server.url, "small", SETTINGS).responses(prompts(1), ()))[0].text == "I will not."


def test_a_passing_fault_is_tried_again(server):
    faults = iter([(500, {}), (429, {"error": {"message": "slow down"}})])
    plain = server.reply
    server.reply = lambda body: next(faults, None) or plain(body)
    asked = ServerResponder(server.url, "small", GenerationSettings(batch_size=1))
    assert merged(asked.responses(prompts(1), ()))[0].text == "is it 0?"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, {"error": {"message": "no such key"}}), "no such key.*OPENAI_API_KEY"),
        ((200, b"half a rep"), "prompt p[01] "),
        ((200, {"choices": []}), "prompt p[01] "),
        ((200, []), "prompt p[01] "),
        ((200, {"choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]}), "prompt p[01] .*without content"),
        ((200, completion(["a part"])), "prompt p[01] .*message of list"),
        ((400, {"error": {"message": "max_tokens is too large"}}), "any of 3 prompts.*max_tokens is too large"),
    ],
)
def test_a_lasting_fault_names_the_prompt_and_what_to_do(server, reply, said):
    server.reply = lambda _: reply
    asked = ServerResponder(server.url, "small", SETTINGS, retries=0)
    with pytest.raises(ModelError, match=said):
        merged(asked.responses(prompts(3), ()))


def test_nobody_listens():
    asked = ServerResponder("http://127.0.0.1:9/v1", "small", SETTINGS, retries=0)
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9/v1 gave no response.*refused"):
        merged(asked.responses(prompts(1), ()))


def test_paths_are_absolute_wherever_they_were_written(run_folder, monkeypatch):
    monkeypatch.chdir(run_folder.parent)
    assert find_model("first").path == str(Path.cwd() / "first")
