"""Rows that reach the trainer directly: exact boundaries, ids, contrast."""

import pytest
from datasets import Dataset
from rows_for_tests import conversation_rows, safe_rows, small_trainer
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.training.preparation import contrast_rows, prepare_rows


def prepare(rows, tokenizer=None, **settings):
    config = DualSelectConfig("unused", use_cpu=True, bf16=False, **settings)
    return prepare_rows(
        rows,
        tokenizer or chatml_tokenizer(),
        config,
        name="task",
        trl_prepare=lambda dataset: pytest.fail("TRL was asked"),
    )


def supervised(tokenizer, row):
    return tokenizer.decode(
        [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    )


def test_the_first_response_token_is_supervised_when_the_template_ends_in_a_blank():
    """TRL tokenizes the prompt alone and loses that token (its `common_prefix_length` warning)."""
    tokenizer = blank_ending_tokenizer()
    rows = Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": "Why?"}],
                "completion": [{"role": "assistant", "content": "Sure, it is."}],
            }
        ]
    )
    (row,) = prepare(rows, tokenizer).tokens
    assert supervised(tokenizer, row).lstrip().startswith("Sure")
    assert row["labels"][-1] != -100


def test_plain_texts_stay_without_a_template_as_in_trl():
    tokenizer = chatml_tokenizer()
    rows = Dataset.from_list([{"prompt": "What is it? ", "completion": "Sure, it is."}])
    (row,) = prepare(rows, tokenizer).tokens
    assert tokenizer.decode(row["input_ids"]) == "What is it? Sure, it is." + tokenizer.eos_token
    assert supervised(tokenizer, row).lstrip() == "Sure, it is." + tokenizer.eos_token


def test_ids_and_labels_follow_the_row_index():
    prepared = prepare(conversation_rows(6), shuffle_dataset=True, seed=3)
    indices = prepared.indices
    assert list(indices) != sorted(indices)
    assert prepared.ids_of([4, 0]) == ["t4", "t0"]
    assert prepared.labels_of([4, 0]) == {"kinds": ["task", "task"], "categories": ["category 1", "category 0"]}


def test_rows_without_kind_have_no_labels():
    prepared = prepare(Dataset.from_list([{"question": "a?", "answer": "b"}]))
    assert prepared.labels_of([0]) == {}


def test_contrast_rows_share_the_prompt_and_differ_in_the_response():
    tokenizer = chatml_tokenizer()
    config = DualSelectConfig("unused", use_cpu=True, reference_contrast="compliance")
    references = prepare(safe_rows(5), tokenizer)
    contrast = contrast_rows(references, tokenizer, config)
    for safe, other in zip(references.tokens, contrast, strict=True):
        start = next(place for place, label in enumerate(safe["labels"]) if label != -100)
        assert safe["input_ids"][:start] == other["input_ids"][:start]
        assert safe["input_ids"] != other["input_ids"]


def test_plain_texts_have_a_plain_contrast():
    tokenizer = chatml_tokenizer()
    rows = Dataset.from_list([{"prompt": f"How {n}? ", "completion": "No, I cannot."} for n in range(3)])
    config = DualSelectConfig("unused", use_cpu=True, reference_contrast="compliance")
    references = prepare(rows, tokenizer)
    contrast = contrast_rows(references, tokenizer, config)
    texts = [tokenizer.decode(row["input_ids"]) for row in contrast]
    assert [text[:7] for text in texts] == ["How 0? ", "How 1? ", "How 2? "]
    assert all("No, I cannot." not in text and "<|im_start|>" not in text for text in texts)


def test_rejected_responses_are_the_contrast():
    tokenizer = chatml_tokenizer()
    rows = Dataset.from_list(
        [{"prompt": f"p {n}", "chosen": "No, I cannot.", "rejected": f"Sure, here {n}."} for n in range(3)]
    )
    config = DualSelectConfig("unused", use_cpu=True, reference_contrast="rejected")
    contrast = contrast_rows(prepare(rows, tokenizer), tokenizer, config)
    assert "Sure, here 1." in supervised(tokenizer, contrast[1])


def test_tokenized_rows_are_taken_as_they_are(tmp_path):
    rows = Dataset.from_list(
        [{"id": f"x{n}", "input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8]} for n in range(8)]
    )
    trainer = small_trainer(tmp_path, task=rows, max_steps=3)
    trainer.train()
    assert trainer.selection_log.read()[0]["ids"][0].startswith("x")
