import pytest
import torch
from models_for_tests import tiny_model
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer, gemma_tokenizer

from dualselect.errors import ConfigError
from dualselect.evaluation import GenerationSettings, generate_responses
from dualselect.evaluation.generation import end_tokens, response_batches


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
    before = generate_responses(model, tokenizer, asked("is it?"), max_new_tokens=12, progress=False)
    model.generation_config.update(
        do_sample=True, temperature=5.0, top_k=50, num_beams=3, no_repeat_ngram_size=1, min_new_tokens=9
    )
    assert generate_responses(model, tokenizer, asked("is it?"), max_new_tokens=12, progress=False) == before


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


def batches(texts, done=(), **settings):
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer), seed=3)
    settings = GenerationSettings(**({"max_new_tokens": 6, "batch_size": 2} | settings))
    return list(response_batches(model, tokenizer, texts, settings, done=done))


def test_batches_are_the_same_whatever_is_done():
    texts = ["is it " * length for length in (5, 1, 3, 9, 7)]
    whole = batches(texts)
    assert [set(batch) for batch in whole] == [{1, 2}, {0, 4}, {3}]
    assert batches(texts, done={1, 2, 4}) == whole[1:]
    assert batches(texts, done=set(range(5))) == []


def test_sampling_depends_on_the_seed_and_not_on_what_was_generated_before():
    texts = ["is it " * length for length in range(1, 7)]
    sampled = {"temperature": 1.5, "max_new_tokens": 12}
    torch.manual_seed(1)
    whole = batches(texts, **sampled)
    torch.rand(7)
    state = torch.random.get_rng_state()
    assert batches(texts, done={0, 1}, **sampled) == whole[1:]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert batches(texts, **sampled, seed=1) != whole
    assert batches(texts, max_new_tokens=12) != whole


def test_a_response_that_reached_the_longest_length_is_marked():
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer), seed=3)
    end = tokenizer.eos_token_id

    def forced(input_ids, **_):
        out = plain(input_ids=input_ids, use_cache=False)
        out.logits = torch.zeros_like(out.logits)
        out.logits[0, -1, end] = 9.0  # the first row ends at once, the second never
        out.logits[1, -1, 65] = 9.0
        return out

    plain, model.forward = model.forward, forced
    settings = GenerationSettings(max_new_tokens=3, batch_size=2)
    (batch,) = response_batches(model, tokenizer, ["is it so?", "is it? is it?"], settings)
    assert [(batch[number].text == "", batch[number].cut) for number in (0, 1)] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"batch_size": 0}, "batch_size"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 1.0, "top_p": 0}, "top_p"),
        ({"top_p": 0.9}, "set a temperature"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, named):
    with pytest.raises(ConfigError, match=named):
        GenerationSettings(**settings)


def test_only_what_decides_a_response_enters_its_key():
    assert GenerationSettings(batch_size=1).decisive == GenerationSettings(seed=7).decisive
    assert GenerationSettings(temperature=1.0).decisive != GenerationSettings(temperature=1.0, seed=7).decisive
    assert GenerationSettings(max_new_tokens=1).decisive != GenerationSettings(max_new_tokens=2).decisive


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_bar_counts_tokens_and_ends_full(batch_size, capsys):
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    told = []
    texts = ["is it so?", "a", "why is it?"]
    settings = GenerationSettings(max_new_tokens=4, batch_size=batch_size)
    found = [one for each in response_batches(model, tokenizer, texts, settings, each_token=lambda: told.append(1))
             for one in each.values()]  # fmt: skip
    assert all(response.cut for response in found)
    assert len(told) == 4 * len(texts) / batch_size
    generate_responses(model, tokenizer, asked(*texts), max_new_tokens=4, batch_size=batch_size, description="Asking")
    assert f"Asking:   0%|          | 0/{len(told)}" in capsys.readouterr().err
