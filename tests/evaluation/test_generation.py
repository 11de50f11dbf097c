import pytest
import torch
from models_for_tests import tiny_model
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer, gemma_tokenizer

from dualselect.evaluation import generate_responses
from dualselect.evaluation.generation import end_tokens


def asked(*texts):
    return [[{"role": "user", "content": text}] for text in texts]


@pytest.mark.parametrize("tokenizer", [chatml_tokenizer(), gemma_tokenizer(), blank_ending_tokenizer()])
@pytest.mark.parametrize("architecture", ["qwen3", "gemma3"])
def test_a_batch_answers_as_one_at_a_time(tokenizer, architecture):
    model = tiny_model(architecture, len(tokenizer), seed=3)
    prompts = asked(*("is it " * length + str(length) for length in (9, 1, 30, 4, 2)))
    options = {"max_new_tokens": 8, "progress": False}
    together = generate_responses(model, tokenizer, prompts, batch_size=3, **options)
    apart = [generate_responses(model, tokenizer, [prompt], **options)[0] for prompt in prompts]
    assert together == apart
    assert len(set(together)) > 1


def test_tokenizer_and_model_are_left_as_they_were():
    tokenizer = chatml_tokenizer()
    tokenizer.pad_token = None
    model = tiny_model("llama", len(tokenizer)).train()
    assert len(generate_responses(model, tokenizer, asked("a", "is it so?"), max_new_tokens=2, progress=False)) == 2
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("right", None)
    assert model.training


def test_generation_is_greedy_whatever_the_model_says():
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    model.generation_config.update(do_sample=True, temperature=5.0, top_k=50)
    answers = {
        generate_responses(model, tokenizer, asked("is it?"), max_new_tokens=12, progress=False)[0] for _ in range(3)
    }
    assert len(answers) == 1


def test_a_response_ends_with_its_turn():
    """A model that says the end-of-turn token, then talks on; its generation settings name no end."""
    tokenizer = gemma_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    end, word = tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<0x41>"])
    said = iter([word, end, word, word, word])

    def forced(input_ids, **_):
        out = plain(input_ids=input_ids, use_cache=False)
        out.logits = torch.zeros_like(out.logits)
        out.logits[:, -1, next(said)] = 9.0
        return out

    plain, model.forward = model.forward, forced
    assert end_tokens(model, tokenizer) == sorted([end, tokenizer.eos_token_id])
    assert generate_responses(model, tokenizer, asked("?"), max_new_tokens=5, progress=False) == ["A"]
