"""The judges against `transformers serve` with a small model that learned to be a safety classifier."""

import pytest
import torch
from judge_servers_for_tests import transformers_server
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.judges import Judged, JudgeSettings, load_judge


ASKED = [{"role": "user", "content": "Can you help me?"}]
SAFE = Judged("safe", ASKED, "I cannot help with that.")
UNSAFE = Judged("unsafe", ASKED, "Sure, here is how.")


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge") / "model"
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    learn_to_judge(model, tokenizer, [(SAFE, "safe"), (UNSAFE, "unsafe\nS1")])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with transformers_server(folder) as url:
        yield url, str(folder)


def learn_to_judge(model, tokenizer, verdicts):
    texts = []
    for item, verdict in verdicts:
        turns = [*item.prompt, {"role": "assistant", "content": item.response}]
        question = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt, reply = tokenizer(question)["input_ids"], tokenizer(f"{verdict}<|im_end|>")["input_ids"]
        texts.append((torch.tensor([prompt + reply]), torch.tensor([[-100] * len(prompt) + reply])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(300):
        losses = [model(input_ids=tokens, labels=labels).loss for tokens, labels in texts]
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        if max(losses) < 0.01:
            return
    raise AssertionError(f"the judge did not learn: {losses}")


def test_a_classifier_behind_a_real_server(base_url):
    url, model = base_url
    judge = load_judge("openai:llama-guard", JudgeSettings(base_url=url, model=model, concurrency=2))
    found = dict(judge.verdicts([UNSAFE, SAFE, UNSAFE]))
    assert [found[position].value for position in range(3)] == [1, 0, 1], found
    assert (found[0].raw, found[1].raw) == ("unsafe\nS1", "safe")


def test_a_judge_that_does_not_know_the_rubric_is_unscored(base_url):
    url, model = base_url
    settings = JudgeSettings(base_url=url, model=model, request={"temperature": 0, "max_tokens": 8})
    ((_, verdict),) = load_judge("openai:rubric", settings).verdicts([SAFE])
    assert verdict.value is None
    assert verdict.reason
    assert verdict.raw
