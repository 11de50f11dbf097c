from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.evaluation import generate_responses


def test_a_batch_answers_as_one_at_a_time():
    tokenizer = chatml_tokenizer()
    model = tiny_model("qwen3", len(tokenizer), seed=3)
    prompts = [[{"role": "user", "content": "is it " * length}] for length in (9, 1, 30, 4)]
    together = generate_responses(model, tokenizer, prompts, max_new_tokens=8, progress=False)
    apart = [generate_responses(model, tokenizer, [prompt], max_new_tokens=8, progress=False)[0] for prompt in prompts]
    assert together == apart
    assert len(set(together)) > 1
    assert tokenizer.padding_side == "right"
