"""Rows of each role in the trainer: whose they are, what is supervised, what never reaches the model."""

import logging

import pytest
from datasets import Dataset
from rows_for_tests import conversation_rows, events, safe_rows, small_trainer, trained
from tokenizers_for_tests import chatml_tokenizer
from trl import SFTTrainer

from dualselect import DualSelectConfig
from dualselect.errors import ConfigError, DataError, ModelError


def talks(count, prefix="t", **flags):
    """Conversations with two assistant turns."""
    return Dataset.from_list(
        [
            {
                "id": f"{prefix}{number}",
                "kind": "task",
                "category": "c",
                "messages": [
                    {"role": "user", "content": f"{prefix} question {number}"},
                    {"role": "assistant", "content": f"First {number}."} | flags,
                    {"role": "user", "content": "And now?"},
                    {"role": "assistant", "content": f"Second {number}."},
                ],
            }
            for number in range(count)
        ]
    )


def supervised(tokenizer, row):
    return tokenizer.decode(
        [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    )


# Roles


@pytest.mark.parametrize("count", [5, 30])
def test_evaluation_sets_do_not_become_training_rows(tmp_path, count):
    """Whatever they are called, and if they are the very same object."""
    task, references = conversation_rows(20), safe_rows(10)
    others = {"train": conversation_rows(count, prefix="e"), "reference": conversation_rows(count, prefix="f")}
    trainer = small_trainer(
        tmp_path,
        task=task,
        references=references,
        max_steps=3,
        trainer_arguments={"eval_dataset": {**others, "same": task, "pool": references}},
    )
    trainer.train()
    seen = {name for line in events(trainer, "warmup") + events(trainer, "step") for name in line["ids"]}
    assert seen
    assert all(name.startswith("t") for name in seen)
    assert set(events(trainer, "refresh")[0]["ids"]) == {f"r{number}" for number in range(10)}
    assert trainer._rows["train"].fingerprint == small_trainer(tmp_path / "alone")._rows["train"].fingerprint
    metrics = trainer.evaluate()
    assert {"eval_train_loss", "eval_reference_loss", "eval_same_loss", "eval_pool_loss"} <= set(metrics)
    trainer.evaluate(conversation_rows(count, prefix="g"))
    assert trainer._rows["train"].ids[0] == "t0"


class Inputs:
    """The names of everything that a model is called with."""

    def __init__(self, model):
        self.names = set()
        model.register_forward_pre_hook(lambda _, given, named: self.names.update(named), with_kwargs=True)


def test_row_numbers_never_reach_the_model(tmp_path):
    trainer = small_trainer(
        tmp_path, max_steps=3, trainer_arguments={"eval_dataset": conversation_rows(5, prefix="e")}
    )
    seen = Inputs(trainer.model)
    trainer.train()
    trainer.evaluate()
    trainer.evaluate(trainer.train_dataset)
    trainer.predict(trainer.train_dataset)
    assert "input_ids" in seen.names
    assert not {name for name in seen.names if "row" in name}


def test_a_column_named_row_index_is_the_users(tmp_path):
    rows = Dataset.from_list(
        [
            {"id": f"x{n}", "row_index": 70 + n, "input_ids": [5, 6, 7, 8 + n], "labels": [-100, -100, 7, 8 + n]}
            for n in range(8)
        ]
    )
    seen = []

    def collate(batch):
        seen.extend(row["row_index"] for row in batch if "row_index" in row)
        return trainer.plain_collator([{key: row[key] for key in ("input_ids", "labels")} for row in batch])

    trainer = small_trainer(tmp_path, task=rows, max_steps=3, remove_unused_columns=False)
    trainer.plain_collator = trainer.data_collator.collate
    trainer.data_collator.collate = collate
    assert trainer.train_dataset["row_index"][:] == [70 + n for n in range(8)]
    trainer.train()
    assert set(seen) <= set(range(70, 78))
    assert seen
    assert events(trainer, "warmup")[0]["ids"][0].startswith("x")
    conversations = conversation_rows(8).add_column("row_index", list(range(8, 16)))
    assert small_trainer(tmp_path / "other", task=conversations)._rows["train"].ids == [f"t{n}" for n in range(8)]


# What is supervised


@pytest.mark.parametrize("settings", [{"supervise": "all"}, {"assistant_only_loss": True}])
def test_all_turns_keep_kinds_contrast_overlap_and_the_automatic_budget(tmp_path, settings, caplog):
    settings |= {"task_token_budget": "auto", "reference_contrast": "compliance", "max_steps": 4}
    with caplog.at_level(logging.INFO):
        trainer = trained(tmp_path, task=talks(20), references=talks(10, "r"), **settings)
    row, contrast = trainer.train_dataset[0], trainer.pool.contrast_rows[0]
    tokenizer = trainer.processing_class
    assert supervised(tokenizer, row) == "First 0.<|im_end|>\nSecond 0.<|im_end|>\n"
    assert supervised(tokenizer, contrast).startswith("First 0.<|im_end|>\n")
    assert "Second" not in supervised(tokenizer, contrast)
    assert "40 assistant turns" in caplog.text
    assert events(trainer, "step")[0]["kinds"] == ["task"] * 4
    assert isinstance(events(trainer, "refresh")[0]["conflict_threshold"], float)
    with pytest.raises(DataError, match="is also in the task data"):
        small_trainer(tmp_path / "same", task=talks(4), references=talks(4), **settings)


def test_assistant_only_loss_is_read_as_all_turns(caplog):
    with caplog.at_level(logging.INFO):
        config = DualSelectConfig("unused", use_cpu=True, assistant_only_loss=True)
    assert (config.supervise, config.assistant_only_loss) == ("all", False)
    assert "read as supervise: all" in caplog.text


def test_the_prompt_is_supervised_without_losing_conversations(tmp_path):
    trainer = trained(tmp_path, completion_only_loss=False, reference_contrast="compliance", max_steps=3)
    for row in (trainer.train_dataset[0], trainer.pool.contrast_rows[0]):
        assert row["labels"] == [-100, *row["input_ids"][1:]]
    assert events(trainer, "step")[0]["kinds"] == ["task"] * 4
    with pytest.raises(DataError, match="is also in the task data"):
        small_trainer(tmp_path / "same", references=conversation_rows(4), completion_only_loss=False)


def formatted(row):
    """A format of a user."""
    return f"Q: {row['messages'][0]['content']}\nA: {row['messages'][-1]['content']} (end)"


def test_a_formatting_function_keeps_kinds_contrast_and_overlap(tmp_path):
    arguments = {"trainer_arguments": {"formatting_func": formatted}}
    trainer = trained(tmp_path, reference_contrast="compliance", task_token_budget="auto", max_steps=3, **arguments)
    tokenizer = trainer.processing_class
    row, contrast = trainer.train_dataset[0], trainer.pool.contrast_rows[0]
    assert tokenizer.decode(row["input_ids"]) == "Q: t question 0 \nA: The answer is 0. (end)<|im_end|>"
    assert row["labels"] == [-100, *row["input_ids"][1:]]
    text = tokenizer.decode(contrast["input_ids"])
    assert text.startswith("Q: r question 0 \nA: ")
    assert text.endswith(" (end)<|im_end|>")
    assert "I cannot help" not in text
    assert events(trainer, "step")[0]["kinds"] == ["task"] * 4
    with pytest.raises(DataError, match="is also in the task data"):
        small_trainer(tmp_path / "same", references=conversation_rows(4), **arguments)


def test_a_formatting_function_that_leaves_the_response_out_has_no_contrast(tmp_path):
    arguments = {"trainer_arguments": {"formatting_func": lambda row: row["messages"][0]["content"]}}
    with pytest.raises(DataError, match="formatting_func changes the response"):
        small_trainer(tmp_path, reference_contrast="compliance", **arguments)


def test_plain_text_has_the_tokens_and_the_loss_of_trl(tmp_path):
    texts = Dataset.from_list([{"text": f"This is text {n}."} for n in range(8)] + [{"text": "Sure<|im_end|>"}])
    trainer = small_trainer(tmp_path, task=texts)
    own = trainer.train_dataset
    theirs = SFTTrainer._prepare_dataset(trainer, texts, trainer.processing_class, trainer.args, False, None, "train")
    assert own["input_ids"][:] == theirs["input_ids"][:]
    assert [labels[1:] for labels in own["labels"]] == [labels[1:] for labels in theirs["labels"]]


# Which rows


def test_a_known_format_wins_over_a_column_text(tmp_path, caplog):
    rows = conversation_rows(8).add_column("text", ["something else"] * 8)
    trainer = small_trainer(tmp_path, task=rows)
    assert supervised(trainer.processing_class, trainer.train_dataset[0]) == "The answer is 0.<|im_end|>\n"
    assert "also a column 'text', which is not used" in caplog.text
    with pytest.raises(DataError, match="is also in the task data"):
        small_trainer(tmp_path, task=rows, references=rows)
    field = small_trainer(tmp_path, task=rows.rename_column("text", "body"), dataset_text_field="body")
    assert field.processing_class.decode(field.train_dataset[0]["input_ids"]).startswith("something else")


@pytest.mark.parametrize("role", ["task", "references"])
def test_rows_of_which_nothing_can_be_learnt_are_dropped_and_counted(tmp_path, caplog, role):
    rows = [{"id": f"x{n}", "input_ids": [5, 6, 7], "labels": [-100, 6, 7]} for n in range(6)]
    rows += [{"id": "one", "input_ids": [5], "labels": [5]}, {"id": "first", "input_ids": [5, 6], "labels": [5, -100]}]
    with caplog.at_level(logging.INFO):
        trainer = small_trainer(tmp_path, max_steps=3, **{role: Dataset.from_list(rows)})
    assert "6 of 8 rows" in caplog.text
    assert "dropped 2 rows with no supervised token after the first position (ids: one, first)" in caplog.text
    trainer.train()
    assert len(trainer._rows["train" if role == "task" else "reference"].tokens) == 6


def test_tokenized_rows_that_are_cut_are_counted(tmp_path, caplog):
    rows = Dataset.from_list([{"input_ids": [7] * length, "labels": [7] * length} for length in (3, 66, 69)])
    with caplog.at_level(logging.INFO):
        small_trainer(tmp_path, task=rows, max_length=64)
    assert "truncated: 2 rows, 7 tokens cut" in caplog.text


def test_a_few_shared_references_are_left_out(tmp_path, caplog):
    shared = conversation_rows(1).to_list()
    references = Dataset.from_list([*safe_rows(9).to_list(), *shared])
    trainer = small_trainer(tmp_path, references=references)
    assert trainer.pool.ids == [f"r{n}" for n in range(9)]
    assert "left out 1 of 10 references" in caplog.text
    with pytest.raises(DataError, match="raise max_shared_references"):
        small_trainer(tmp_path, references=references, max_shared_references=0.0)
    assert len(small_trainer(tmp_path, references=references, allow_prompt_overlap=True).pool) == 10


def test_a_padding_token_without_an_embedding_is_refused_in_the_constructor(tmp_path):
    folder, vocabulary = tmp_path / "run", len(chatml_tokenizer())
    with pytest.raises(ModelError, match=r"pad_token has the id \d+ .*set pad_token: '<\|im_end\|>'"):
        small_trainer(folder, tokenizer=padded(), vocabulary=vocabulary)
    assert not folder.exists()
    tokenizer = padded()
    tokenizer.pad_token = "<|im_end|>"
    small_trainer(folder, tokenizer=tokenizer, vocabulary=vocabulary, max_steps=3).train()


def padded():
    tokenizer = chatml_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    return tokenizer


def test_rows_with_a_token_without_an_embedding_are_refused(tmp_path):
    rows = Dataset.from_list([{"input_ids": [1, 2, 99_999]}])
    with pytest.raises(ModelError, match="a token of the train rows has the id 99999, and the model"):
        small_trainer(tmp_path, task=rows)


def test_unprepared_rows_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="skip_prepare_dataset"):
        small_trainer(tmp_path, dataset_kwargs={"skip_prepare_dataset": True})


def test_labels_of_rows_are_not_read_from_the_data_set_at_each_step(tmp_path):
    """Decoding a column at each step took 1.3 seconds at 112,000 rows."""
    trainer = small_trainer(tmp_path, max_steps=4)
    rows = trainer._rows["train"]
    rows.conversations.__class__ = Unreadable
    trainer.train()
    assert events(trainer, "step")[0]["kinds"] == ["task"] * 4


class Unreadable(Dataset):
    """A data set of which no column can be read."""

    def __getitem__(self, key):
        raise AssertionError(key)


def test_the_hash_of_tokens_is_of_contents_and_not_of_ids(tmp_path):
    task = conversation_rows(20)
    one = small_trainer(tmp_path, task=task)._rows["train"]
    other = small_trainer(tmp_path, task=conversation_rows(20, "Something else {number}."))._rows["train"]
    renamed = task.remove_columns("id").add_column("id", [f"u{n}" for n in range(20)])
    assert one.fingerprint == other.fingerprint
    assert one.tokens_sha256 != other.tokens_sha256
    assert one.tokens_sha256 == small_trainer(tmp_path, task=renamed)._rows["train"].tokens_sha256
