"""What tokenizing keeps, cuts, drops and counts."""

import pytest
from datasets import Dataset, load_from_disk
from tokenizers_for_tests import chatml_tokenizer

from dualselect.data import as_conversations, row_id, tokenize
from dualselect.errors import ConfigError, DataError


TOKENIZER = chatml_tokenizer()


def rows_of(*responses, prompt="What?"):
    return Dataset.from_list(
        [
            {
                "id": f"r{n}",
                "kind": "task",
                "category": f"c{n}",
                "prompt": [{"role": "user", "content": prompt}],
                "completion": [{"role": "assistant", "content": response}],
            }
            for n, response in enumerate(responses)
        ]
    )


def length_of(response):
    (row,) = tokenize(rows_of(response), TOKENIZER, max_length=None).dataset
    return len(row["input_ids"])


def test_the_columns():
    found = tokenize(rows_of("Sure"), TOKENIZER, max_length=None).dataset
    assert sorted(found.column_names) == ["category", "id", "input_ids", "kind", "labels", "row_index"]
    assert {key: found[0][key] for key in ("id", "kind", "category", "row_index")} == {
        "id": "r0",
        "kind": "task",
        "category": "c0",
        "row_index": 0,
    }


def test_row_index_is_the_position_before_dropping():
    long = "I am here. " * 20
    found = tokenize(rows_of("Sure", " ", "I am", long, "No"), TOKENIZER, max_length=length_of("I am"))
    assert found.dataset["id"][:] == ["r0", "r2", "r3", "r4"]
    assert found.dataset["row_index"][:] == [0, 2, 3, 4]
    assert found.report.empty_responses == ("r1",)


def test_ids_and_positions_survive_filter_and_shuffle():
    rows = rows_of(*(f"The answer is {n}." for n in range(12))).filter(
        lambda row: row["id"] != "r3", keep_in_memory=True
    )
    shuffled = rows.shuffle(seed=0)
    for row in tokenize(shuffled, TOKENIZER, max_length=None).dataset.shuffle(seed=1):
        assert shuffled[row["row_index"]]["id"] == row["id"]
        assert f"is {row['id'][1:]}." in TOKENIZER.decode(row["input_ids"])


def test_rows_without_id_are_named_by_their_content():
    rows = rows_of("Sure").remove_columns(["id", "kind", "category"])
    (row,) = tokenize(rows, TOKENIZER, max_length=None).dataset
    assert row["id"] == row_id("What?", "Sure")
    assert (row["kind"], row["category"]) == ("", "")


def test_truncation_keeps_the_first_tokens_and_counts_the_rest():
    rows = rows_of("Sure", "I am here. " * 4)
    whole = tokenize(rows, TOKENIZER, max_length=None)
    limit = len(whole.dataset[1]["input_ids"]) - 7
    cut = tokenize(rows, TOKENIZER, max_length=limit)
    assert cut.dataset[0] == whole.dataset[0]
    assert cut.dataset[1]["input_ids"] == whole.dataset[1]["input_ids"][:limit]
    assert cut.dataset[1]["labels"] == whole.dataset[1]["labels"][:limit]
    assert (cut.report.truncated_rows, cut.report.truncated_tokens) == (1, 7)
    assert (whole.report.truncated_rows, whole.report.truncated_tokens) == (0, 0)
    assert "truncated: 1 rows, 7 tokens cut" in cut.report.describe()


def test_the_report_counts_the_rows_kept():
    found = tokenize(rows_of("Sure", "No", "I am here. " * 9), TOKENIZER, max_length=length_of("Sure"))
    labels = [label for row in found.dataset for label in row["labels"]]
    assert found.report.total_tokens == len(labels)
    assert found.report.supervised_tokens == sum(label != -100 for label in labels)
    assert (found.report.rows_in, found.report.rows_kept) == (3, len(found.dataset))


def test_rows_cut_before_their_response_are_dropped_with_their_ids():
    rows = [
        *rows_of("Sure"),
        *(row | {"id": f"long{n}"} for n in range(7) for row in rows_of("No", prompt="Why? " * 40)),
    ]
    found = tokenize(Dataset.from_list(rows), TOKENIZER, max_length=length_of("Sure"))
    assert found.report.without_supervision == tuple(f"long{n}" for n in range(7))
    assert "dropped 7 rows" in found.report.describe()
    assert "long4, ..." in found.report.describe()
    assert "long5" not in found.report.describe()


def test_the_message_when_nothing_is_left_says_which_length_would_do():
    rows = rows_of("Sure")
    (row,) = tokenize(rows, TOKENIZER, max_length=None).dataset
    first = next(place for place, label in enumerate(row["labels"]) if label != -100)
    with pytest.raises(DataError, match=f"needs {first} tokens before .* at least {first + 1}"):
        tokenize(rows, TOKENIZER, max_length=first)
    assert tokenize(rows, TOKENIZER, max_length=first + 1).report.supervised_tokens == 1


def test_two_calls_and_two_processes_give_the_same():
    rows = rows_of(*(f"The answer is {n}." for n in range(30)))
    once = tokenize(rows, TOKENIZER, max_length=20)
    again = tokenize(rows, TOKENIZER, max_length=20)
    split = tokenize(rows, TOKENIZER, max_length=20, num_proc=2)
    assert once.dataset[:] == again.dataset[:] == split.dataset[:]
    assert once.report == again.report == split.report


def test_another_template_is_not_taken_from_a_cache(tmp_path):
    rows_of("Sure").save_to_disk(str(tmp_path / "rows"))
    rows = load_from_disk(str(tmp_path / "rows"))
    files = sorted(tmp_path.rglob("*"))
    other = chatml_tokenizer()
    other.chat_template = other.chat_template.replace("user", "human")
    other.chat_template = "Hello {{ '' }}" + other.chat_template
    one = tokenize(rows, TOKENIZER, max_length=None).dataset[0]["input_ids"]
    two = tokenize(rows, other, max_length=None).dataset[0]["input_ids"]
    assert one != two
    assert sorted(tmp_path.rglob("*")) == files


def test_lengths_that_hold_no_prediction_are_refused():
    with pytest.raises(ConfigError, match="max_length is 1"):
        tokenize(rows_of("Sure"), TOKENIZER, max_length=1)


def test_as_conversations_keeps_order_ids_and_template_columns():
    rows = Dataset.from_list(
        [
            {"id": "x", "question": "q", "answer": "a", "tools": "[]", "other": 1},
            {"id": "x", "question": "r", "answer": " ", "tools": "[]", "other": 2},
        ]
    )
    found = as_conversations(rows, name="task")
    assert found["id"][:] == ["x", "x#2"]
    assert found["tools"][:] == ["[]", "[]"]
    assert "other" not in found.column_names
    assert found[0]["completion"] == [{"role": "assistant", "content": "a"}]
