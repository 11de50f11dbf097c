"""Prompts that stand in both the task data and the references; ids; contrast."""

import pytest
from datasets import Dataset
from models_for_tests import tiny_model
from tokenizers_for_tests import chatml_tokenizer

from dualselect.data import check_overlap, row_id
from dualselect.data.checks import check_embeddings, references_apart
from dualselect.data.contrast import compliance
from dualselect.data.ids import distinct_ids
from dualselect.errors import DataError, ModelError


def rows(*prompts, prefix):
    turns = [prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}] for prompt in prompts]
    return Dataset.from_list([{"id": f"{prefix}{n}", "prompt": turn} for n, turn in enumerate(turns)])


def test_overlap_ignores_case_blanks_and_the_system_turn():
    task = rows("How do I\n lie?", "Other", prefix="t")
    system = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "how do i lie? "}]
    references = rows("Different", system, "HOW DO I LIE?", prefix="r")
    assert check_overlap(task, references, allow=True) == 2


def test_all_user_turns_count():
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How?"},
    ]
    assert check_overlap(rows(talk, prefix="t"), rows("How?", prefix="r"), allow=False) == 0
    assert check_overlap(rows(talk, prefix="t"), rows(talk, prefix="r"), allow=True) == 1


def test_plain_prompts_without_ids():
    texts = Dataset.from_list([{"prompt": "How?"}])
    assert check_overlap(texts, texts, allow=True) == 1


def test_overlap_is_refused_with_ids_unless_allowed():
    same = rows("a", "b", "c", "d", prefix="t"), rows("a", "b", "c", "d", prefix="r")
    with pytest.raises(DataError, match=r"4 of 4 references .*'r0' = task 't0'.*'r2' = task 't2', \.\.\.\).*allow"):
        check_overlap(*same, allow=False)


def test_content_hashes_do_not_change():
    """Ids stand in logs and checkpoints: a new version must not rename rows."""
    assert row_id("q", "a") == "1084cbeec960c946"
    turns = [{"content": "q", "role": "user"}], [{"role": "assistant", "content": "a"}]
    assert row_id(*turns) == row_id("q", "a")
    assert row_id("a", "q") != row_id("q", "a")
    assert row_id([{"role": "system", "content": "q"}], "a") != row_id("q", "a")


def test_repeated_ids_never_collide():
    ids, renamed = distinct_ids(["a", "a#2", "a", "a", "a#2"])
    assert ids == ["a", "a#2", "a#3", "a#4", "a#2#2"]
    assert renamed == 3


def test_the_compliance_of_a_row_is_always_the_same():
    assert compliance("r1") == compliance("r1")
    assert len({compliance(f"r{n}") for n in range(50)}) > 3


def test_a_few_shared_prompts_are_left_out_with_a_warning(caplog):
    task = rows("a", "b", prefix="t")
    references = rows("c", "B ", "d", "e", prefix="r")
    assert references_apart(task, references, allow=False, most=0.1) == [0, 2, 3]
    assert "left out 1 of 4 references" in caplog.text
    assert "'r1' = task 't1'" in caplog.text
    assert references_apart(task, references, allow=True, most=0.1) == [0, 1, 2, 3]
    assert references_apart(task, rows("x", prefix="r"), allow=False, most=0) == [0]


@pytest.mark.parametrize(
    ("shared", "most", "left_out"), [(3, 0.3, True), (4, 0.3, False), (1, 0, False), (10, 1, False)]
)
def test_more_than_the_share_is_refused(shared, most, left_out):
    task = rows(*map(str, range(10)), prefix="t")
    references = rows(*map(str, range(shared)), *(f"other {n}" for n in range(10 - shared)), prefix="r")
    if left_out:
        assert references_apart(task, references, allow=False, most=most) == list(range(shared, 10))
        return
    with pytest.raises(DataError, match="raise max_shared_references, or set allow_prompt_overlap: true"):
        references_apart(task, references, allow=False, most=most)


def test_tokens_without_an_embedding_are_refused_with_the_fix():
    tokenizer = chatml_tokenizer()
    model = tiny_model("llama", len(tokenizer))
    check_embeddings(model, tokenizer, task=Dataset.from_list([{"input_ids": [len(tokenizer) - 1]}]))
    with pytest.raises(ModelError, match=rf"a token of the task rows has the id {len(tokenizer)}, and the model"):
        check_embeddings(model, tokenizer, task=Dataset.from_list([{"input_ids": [1, len(tokenizer), 2]}]))
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    with pytest.raises(ModelError, match=r"pad_token has the id .*set pad_token: '<\|im_end\|>' .*, or enlarge"):
        check_embeddings(model, tokenizer)
    check_embeddings(model, tokenizer, pad_token="<|im_end|>")
    tokenizer.eos_token = "<new>"
    with pytest.raises(ModelError, match="eos_token has the id .*use the tokenizer that belongs to the model"):
        check_embeddings(model, tokenizer, pad_token="<|endoftext|>")
