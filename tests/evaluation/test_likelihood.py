"""Log-likelihoods and divergences of batches against one response at a time, written out."""

import pytest
import torch
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer, gemma_tokenizer

from dualselect.evaluation.likelihood import ScoredResponse, divergences, log_likelihoods, token_rows


def asked(*pairs):
    return [ScoredResponse([{"role": "user", "content": prompt}], response) for prompt, response in pairs]


TEXTS = asked(("is it?", "The answer is here."), ("is it " * 20 + "?", "no"), ("a", "I can help. " * 9), ("b", "c"))


def merged(batches):
    return {number: value for batch in batches for number, value in batch.items()}


@pytest.mark.parametrize(("tokenizer", "architecture"), [(chatml_tokenizer(), "qwen3"), (gemma_tokenizer(), "gemma3")])
def test_a_batch_is_as_likely_as_one_at_a_time(tokenizer, architecture):
    model = tiny_model(architecture, len(tokenizer)).eval()
    rows = token_rows(TEXTS, tokenizer, "chat")
    found = merged(log_likelihoods(model, rows, batch_size=3))
    for number, row in enumerate(rows):
        ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
        with torch.no_grad():
            logits = model(input_ids=ids[None]).logits[0, :-1].double().log_softmax(-1)
        taken = labels[1:] != -100
        expected = logits[taken, labels[1:][taken]].sum().item()
        assert found[number] == [pytest.approx(expected, rel=1e-5), int(taken.sum())]


def test_the_divergence_is_its_definition():
    tokenizer = chatml_tokenizer()
    now, start = (tiny_model("llama", len(tokenizer), seed=seed).eval() for seed in (0, 1))
    rows = token_rows(TEXTS, tokenizer, "chat")
    found = merged(divergences(now, start, rows, batch_size=3))
    for number, row in enumerate(rows):
        taken = torch.tensor(row["labels"])[1:] != -100
        with torch.no_grad():
            p, q = (
                model(input_ids=torch.tensor(row["input_ids"])[None]).logits[0, :-1].double().softmax(-1)[taken]
                for model in (start, now)
            )
        assert found[number] == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-4)
    assert all(
        value == pytest.approx(0, abs=1e-6) for value in merged(divergences(now, now, rows, batch_size=2)).values()
    )


def test_batches_of_what_is_done_are_left_out_and_the_others_stay_as_they_are():
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer)).eval()
    rows = token_rows(TEXTS, tokenizer, "human_assistant")
    whole = list(log_likelihoods(model, rows, batch_size=2))
    assert list(log_likelihoods(model, rows, batch_size=2, done=set(whole[0]))) == whole[1:]
    assert list(log_likelihoods(model, rows, batch_size=2, done={*whole[0], min(whole[1])})) == whole[1:]
