"""A pool in the model's own words: what is kept, what is left out and why, and that it can be trained on."""

import json

import pytest
import torch
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect import load_rows
from dualselect.cli.main import main
from dualselect.errors import DataError
from dualselect.evaluation import generation
from dualselect.evaluation.generation import Response
from dualselect.own_pool import described, own_pool


REFUSAL = "I'm sorry, but I can't help with that."
HELP = "Take two cups of flour, add some water, and knead the dough for ten minutes."
ANSWERS = {
    "harmful": [REFUSAL, HELP, "", "no no no no no no no no no no no no no no no no no no no no", REFUSAL],
    "harmless": [HELP, REFUSAL, HELP, HELP, ""],
}


@pytest.fixture
def says(monkeypatch):
    """Answers given in turn, in place of a tiny random model's own, which no judge could read."""
    answers = [text for side in ("harmful", "harmless") for text in ANSWERS[side]]

    def batches(model, tokenizer, texts, settings, **_):
        taken = [answers.pop(0) for _ in texts]
        cut = 3 if taken[0] == HELP else -1
        yield {number: Response.of(text, cut=number == cut) for number, text in enumerate(taken)}

    monkeypatch.setattr("dualselect.own_pool.response_batches", batches)


def test_answers_that_refuse_well_or_help_well_are_kept(tmp_path, says):
    tokenizer = chatml_tokenizer()
    counts = own_pool(tiny_model("llama", len(tokenizer)), tokenizer, tmp_path / "pool.jsonl", count=5, progress=False)
    assert counts["harmful"].kept == 2
    assert counts["harmful"].dropped == {"no full refusal": 1, "empty": 1, "repeats itself": 1}
    assert counts["harmless"].kept == 2
    assert counts["harmless"].dropped == {
        "refuses, in full or in part": 1,
        "empty": 1,
        "cut off: raise max_new_tokens": 1,
    }
    rows = load_rows(str(tmp_path / "pool.jsonl")).dataset
    assert sorted(rows["kind"]) == ["lookalike", "lookalike", "refusal", "refusal"]
    assert {row["completion"][0]["content"] for row in rows} == {REFUSAL, HELP}
    assert len(set(rows["id"])) == 4
    assert described("harmful", counts["harmful"]).startswith(
        "harmful prompts: 5 asked, 2 refusals kept; 1 left out: "
    )


def test_own_prompts_are_asked(tmp_path, says):
    (tmp_path / "bad.jsonl").write_text("".join(json.dumps({"goal": f"bad {n}"}) + "\n" for n in range(5)))
    (tmp_path / "good.csv").write_text("prompt\n" + "".join(f"good {n}\n" for n in range(9)))
    tokenizer = chatml_tokenizer()
    own_pool(
        tiny_model("llama", len(tokenizer)),
        tokenizer,
        tmp_path / "pool.jsonl",
        harmful=[str(tmp_path / "bad.jsonl")],
        harmless=[str(tmp_path / "good.csv")],
        count=5,
        progress=False,
    )
    prompts = [json.loads(line)["prompt"][0]["content"] for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    assert prompts == ["bad 0", "bad 4", "good 0", "good 2"]


def test_a_file_that_exists_is_not_replaced(tmp_path):
    (tmp_path / "pool.jsonl").write_text("mine")
    with pytest.raises(DataError, match="exists: name another file"):
        own_pool(None, None, tmp_path / "pool.jsonl")


def test_a_model_that_cannot_refuse_is_told_and_nothing_is_written(tmp_path):
    """A real random model: whatever it says is no refusal."""
    tokenizer = chatml_tokenizer()
    torch.manual_seed(0)
    with pytest.raises(DataError, match="no answer to a harmful prompt can be used"):
        own_pool(
            tiny_model("llama", len(tokenizer)),
            tokenizer,
            tmp_path / "pool.jsonl",
            count=2,
            generation=generation.GenerationSettings(max_new_tokens=4, batch_size=2),
            progress=False,
        )
    assert not (tmp_path / "pool.jsonl").exists()


@pytest.mark.slow
def test_the_verb_makes_a_pool_of_a_real_model(tmp_path, capsys):
    words = ["--model_name_or_path", "smollm2-135m-instruct", "--output", str(tmp_path / "pool.jsonl")]
    status = main(["pool", *words, "--count", "8", "--max_new_tokens", "60"])  # it refuses few requests
    assert "harmful prompts: 8 asked" in capsys.readouterr().out
    assert (status == 0) == (tmp_path / "pool.jsonl").exists()
