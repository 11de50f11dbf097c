"""Columns: each is used, or named with its count, or refused by name."""

import json

import pytest
from datasets import Dataset

from dualselect.data import as_conversations, load_rows
from dualselect.errors import DataError


SYSTEM = {"role": "system", "content": "s"}
TURNS = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}]
TABLE = "CREATE TABLE head (age INT)"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def loaded(tmp_path, *rows, **options):
    return load_rows(write(tmp_path / "rows.jsonl", rows), **options)


def texts(row):
    return [*(turn["content"] for turn in row["prompt"]), row["completion"][0]["content"]]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"question": "How many?", "context": TABLE, "answer": "SELECT 1"}, [f"How many?\n\n{TABLE}", "SELECT 1"]),
        ({"instruction": "i", "context": "c", "response": "r"}, ["i\n\nc", "r"]),
        ({"instruction": "i", "context": "", "response": "r"}, ["i", "r"]),
        ({"instruction": "i", "input": "x", "output": "o"}, ["i\n\nx", "o"]),
        (
            {"instruction": "i", "input": "", "output": "o", "system": "s", "history": [["a", "b"], ["c", "d"]]},
            ["s", "a", "b", "c", "d", "i", "o"],
        ),
        ({"instruction": "i", "output": "o", "history": '[["a", "b"]]'}, ["a", "b", "i", "o"]),
        ({"prompt": "p", "response": "r"}, ["p", "r"]),
        ({"prompt": "p", "context": "c", "response": "r", "system": "s"}, ["s", "p\n\nc", "r"]),
        ({"query": "p", "response": "r"}, ["p", "r"]),
        ({"system_prompt": "s", "question": "p", "response": "r"}, ["s", "p", "r"]),
        ({"input": "p", "output": "r"}, ["p", "r"]),
        ({"conversation": TURNS}, ["p", "r"]),
        (
            {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "r"}], "system": "s"},
            ["s", "p", "r"],
        ),
        (
            {
                "system": "s",
                "messages": [SYSTEM, {"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}],
            },
            ["s", "p", "r"],
        ),
        ({"system": " ", "prompt": "p", "completion": "r"}, ["p", "r"]),
    ],
)
def test_formats_of_real_data(tmp_path, row, expected):
    found = loaded(tmp_path, row)
    assert texts(found.dataset[0]) == expected
    assert found.report.unused_columns == {}
    assert texts(as_conversations(Dataset.from_list([row]), name="task")[0]) == expected


@pytest.mark.parametrize(
    ("row", "prompt", "response"),
    [
        ({"choices": ["4", "7"], "answer": "7"}, "q\n\nA. 4\nB. 7", "7"),
        ({"choices": ["4", "7"], "answer": "B"}, "q\n\nA. 4\nB. 7", "B"),
        ({"choices": ["four", "seven"], "answer": 1}, "q\n\nA. four\nB. seven", "B. seven"),
        ({"choices": "['four', 'seven']", "answer": "1"}, "q\n\nA. four\nB. seven", "B. seven"),
        ({"choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}, "q\n\n1. x\n2. y", "2"),
        ({"options": {"A": "x", "B": "y"}, "answer": "B"}, "q\n\nA. x\nB. y", "B"),
        ({"options": [{"label": "a", "text": "x"}], "answer": "a"}, "q\n\na. x", "a"),
        ({"choices": ["x", "y"], "answer": "It is y since ..."}, "q\n\nA. x\nB. y", "It is y since ..."),
        ({"choices": "(a) x (b) y", "answer": "b"}, "q\n\n(a) x (b) y", "b"),
    ],
)
def test_choices_are_part_of_the_prompt(tmp_path, row, prompt, response):
    found = loaded(tmp_path, {"question": "q", **row})
    assert texts(found.dataset[0]) == [prompt, response]
    assert found.report.unused_columns == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "q", "choices": ["x", "y"], "answer": 2},
            "answer is 2, and there are 2 choices, counted from 0",
        ),
        ({"question": "q", "choices": [["x"]], "answer": "x"}, "choices is not a list of choices"),
        ({"question": "q", "answer": "a", "history": ["b"]}, "history is neither a list of .* pairs nor of turns"),
        ({"question": "q", "answer": "a", "system": "s", "system_prompt": "t"}, "there are two system prompts"),
        ({"prompt": [{"role": "system", "content": "s"}], "completion": "a"}, "the last turn of prompt is by system"),
    ],
)
def test_columns_that_cannot_be_used_are_refused_by_name(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, row)


def test_columns_that_are_left_out_are_named_with_their_count(tmp_path):
    rows = [
        {"question": "q", "answer": "a", "Unnamed: 0": 0, "source": "web", "empty": None, "none": ""},
        {"question": "r", "answer": "b", "Unnamed: 0": 1, "__index_level_0__": 7, "": "x"},
    ]
    found = loaded(tmp_path, *rows)
    assert found.report.unused_columns == {"Unnamed: 0": 2, "source": 1, "__index_level_0__": 1, "(no name)": 1}
    told = found.report.describe()
    assert "columns left out (rows): (no name) (1), Unnamed: 0 (2), __index_level_0__ (1), source (1)" in told


def test_a_rejected_response_that_is_not_used_is_named(tmp_path):
    pair = {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: other\n\nAssistant: c"}
    assert loaded(tmp_path, pair).report.unused_columns == {"rejected": 1}
    turns = [{"role": "assistant", "content": "b", "reasoning_content": "r"}]
    row = {"prompt": "a", "chosen": "x", "rejected": turns}
    assert loaded(tmp_path, row).report.unused_columns == {"rejected.reasoning_content": 1}


def test_a_known_format_wins_over_a_column_text_and_this_is_said(tmp_path, caplog):
    row = {"instruction": "i", "input": "", "output": "o", "text": "Below is an instruction ... i ... o"}
    found = loaded(tmp_path, row)
    assert texts(found.dataset[0]) == ["i", "o"]
    assert found.report.unused_columns == {"text": 1}
    assert texts(as_conversations(Dataset.from_list([row]), name="task")[0]) == ["i", "o"]
    assert "task: columns left out: text (1)" in caplog.text
    assert "task: trained on instruction and output, and not on the column text" in caplog.text


@pytest.mark.parametrize("columns", ["prompt=body,completion=reply", {"prompt": "body", "completion": "reply"}])
def test_unusual_names_are_mapped(tmp_path, columns):
    rows = [{"body": "b", "reply": "r", "prompt": "subject", "mood": 1}]
    found = loaded(tmp_path, *rows, columns=columns)
    assert texts(found.dataset[0]) == ["b", "r"]
    assert found.report.unused_columns == {"prompt (replaced)": 1, "mood": 1}


def test_a_mapping_may_stand_behind_a_source(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"reply": f"r{n}", "body": "b"} for n in range(3)])
    other = write(tmp_path / "other.jsonl", [{"question": "q", "answer": "a"}])
    found = load_rows([f"{path}[1:]?prompt=body,completion=reply", other])
    assert [texts(row) for row in found.dataset] == [["b", "r1"], ["b", "r2"], ["q", "a"]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("promt=body,completion=reply", "promt is not a column of any row format; did you mean prompt?"),
        ("prompt=bodi,completion=reply", r"no such column: prompt=bodi \(did you mean body\?\)"),
        ("prompt", "'prompt' is not understood: write prompt=YOUR_COLUMN"),
        ("prompt=body,completion=body", "names a column twice"),
    ],
)
def test_names_of_a_mapping_are_checked(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, {"body": "b", "reply": "r"}, columns=columns)
