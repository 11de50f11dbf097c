"""Which turns are supervised, to the token; flags of turns; rows of which nothing can be learnt."""

import pytest
from datasets import Dataset
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer, gemma_tokenizer

from dualselect.data import tokenize
from dualselect.errors import ConfigError, DataError


TALK = [
    {"role": "user", "content": "What is it?"},
    {"role": "assistant", "content": "Sure, it is here."},
    {"role": "user", "content": "Can you help?"},
    {"role": "assistant", "content": "I can help."},
    {"role": "user", "content": "Now?"},
    {"role": "assistant", "content": "No."},
]


def rows(*conversations):
    return Dataset.from_list([{"prompt": turns[:-1], "completion": turns[-1:]} for turns in conversations])


def flagged(**flags):
    """The conversation with flags on its assistant turns, by position among them."""
    turns = [dict(turn) for turn in TALK]
    for key, values in flags.items():
        for turn, value in zip(turns[1::2], values, strict=True):
            turn[key] = value
    return turns


def supervised(tokenizer, row):
    return [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]


@pytest.mark.parametrize("make", [chatml_tokenizer, gemma_tokenizer, blank_ending_tokenizer])
def test_all_assistant_turns_to_the_token(make):
    """The oracle is the template's own mark of what the assistant says."""
    tokenizer = make()
    (row,) = tokenize(rows(TALK), tokenizer, max_length=None, scope="all").dataset
    marked = tokenizer.apply_chat_template(TALK, return_dict=True, return_assistant_tokens_mask=True)
    assert row["input_ids"] == marked["input_ids"]
    for token, mask, label in zip(row["input_ids"], marked["assistant_masks"], row["labels"], strict=True):
        if label == -100:
            assert not mask
        elif not mask:  # the line break behind an end of turn, or a token that holds the blank before a response too
            assert tokenizer.decode([token])[0] in "\n "


def test_the_report_counts_turns():
    report = tokenize(rows(TALK, TALK[:2]), chatml_tokenizer(), max_length=None, scope="all").report
    assert report.supervised_turns == 4
    assert "supervised in 4 assistant turns" in report.describe()
    assert tokenize(rows(TALK), chatml_tokenizer(), max_length=None).report.supervised_turns == 1


@pytest.mark.parametrize(
    "flags", [{"train": [False, True, None]}, {"weight": [0, 1, None]}, {"weight": [0.0, 1.0, 1.0]}]
)
def test_turns_that_are_switched_off_are_context(flags):
    tokenizer = chatml_tokenizer()
    found = tokenize(rows(flagged(**flags)), tokenizer, max_length=None, scope="all")
    (row,) = found.dataset
    assert tokenizer.decode(supervised(tokenizer, row)) == "I can help.<|im_end|>\nNo.<|im_end|>\n"
    assert found.report.unused == {}
    plain = tokenize(rows(TALK), tokenizer, max_length=None, scope="all").dataset[0]
    assert row["input_ids"] == plain["input_ids"]


@pytest.mark.parametrize("scope", ["last", "all"])
def test_rows_whose_turns_are_all_switched_off_are_dropped_and_counted(scope):
    found = tokenize(rows(TALK, flagged(weight=[0, 0, 0])), chatml_tokenizer(), max_length=None, scope=scope)
    assert found.dataset["row_index"][:] == [0]
    assert "dropped 1 rows with every response switched off by train: false or weight: 0" in found.report.describe()


def test_flags_that_are_not_followed_are_counted():
    report = tokenize(
        rows(flagged(train=[True, False, True], weight=[0, 0, 0.5])), chatml_tokenizer(), max_length=None
    )
    assert report.report.unused == {"train": 1, "weight": 1}


def test_an_empty_turn_among_others_is_not_supervised():
    turns = [dict(turn) for turn in TALK]
    turns[3]["content"] = "  "
    tokenizer = chatml_tokenizer()
    (row,) = tokenize(rows(turns), tokenizer, max_length=None, scope="all").dataset
    assert tokenizer.decode(supervised(tokenizer, row)) == "Sure, it is here.<|im_end|>\nNo.<|im_end|>\n"


def test_truncation_keeps_the_turns_that_fit():
    whole = tokenize(rows(TALK), chatml_tokenizer(), max_length=None, scope="all").dataset[0]
    length = len(whole["input_ids"]) - 12
    cut = tokenize(rows(TALK), chatml_tokenizer(), max_length=length, scope="all")
    assert cut.dataset[0]["labels"] == whole["labels"][:length]
    assert cut.report.supervised_turns == 2


def test_the_whole_text_is_supervised_where_it_is_asked_for():
    (row,) = tokenize(rows(TALK), chatml_tokenizer(), max_length=None, scope="everything").dataset
    assert row["labels"] == [-100, *row["input_ids"][1:]]


def test_a_row_of_one_token_is_dropped_and_counted():
    tokenizer = chatml_tokenizer()
    texts = Dataset.from_list([{"prompt": "", "completion": "Sure"}, {"prompt": "", "completion": "<|im_end|>"}])
    found = tokenize(texts, tokenizer, max_length=None)
    assert found.dataset["row_index"][:] == [0]
    assert "dropped 1 rows with one token, which nothing predicts" in found.report.describe()


def test_data_with_nothing_to_learn_is_refused_with_its_reasons():
    with pytest.raises(DataError, match="nothing can be learned .*1 with every response switched off"):
        tokenize(rows(flagged(train=[False] * 3)), chatml_tokenizer(), max_length=None, scope="all")


def test_the_published_mask_knows_one_response():
    with pytest.raises(ConfigError, match="set supervise: last"):
        tokenize(
            rows(TALK),
            chatml_tokenizer(),
            max_length=None,
            prompt_format="human_assistant",
            mask_mode="legacy",
            scope="all",
        )
