"""The stream of task rows: as `load_rows` reads them, but one at a time, and again."""

import json

import pytest
from datasets import Dataset

from dualselect import load_rows
from dualselect.auditing.rows import TaskRows
from dualselect.errors import DataError
from dualselect.files import write_text


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {"id": f"r{number}", "prompt": f"Question {number}?", "chosen": "No.", "rejected": f"Yes {number}."}
        for number in range(6)
    ]
    write_text(tmp_path / "pairs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "pairs.jsonl"


@pytest.mark.parametrize("ending", ["", "[2:5]", "[:2]", "[4:]", "#rejected", "#rejected[1:3]", "[-2:]"])
def test_it_is_what_load_rows_reads(pairs, ending):
    rows = TaskRows([f"{pairs}{ending}"])
    expected = load_rows(f"{pairs}{ending}").dataset
    for _ in range(2):  # a stream that can be read again
        found = list(rows)
        assert [row.number for row in found] == list(range(len(expected)))
        for name in ("id", "prompt", "completion"):
            assert [row.conversation[name] for row in found] == expected[name]


def test_several_sources_are_one_stream(pairs):
    rows = list(TaskRows([f"{pairs}[:2]", "builtin:chat:3", f"{pairs}[5:]"]))
    assert [rows[0].id, rows[1].id, rows[-1].id] == ["r0", "r1", "r5"]
    assert [row.number for row in rows] == list(range(6))


def test_a_row_without_a_response_stays_and_says_so():
    rows = list(
        TaskRows.of(Dataset.from_list([{"prompt": "a", "completion": " "}, {"prompt": "b", "completion": "c"}]))
    )
    assert [row.lacks for row in rows] == ["empty response", ""]


@pytest.mark.parametrize("ending", ["", "[1:]", "[-2:]"])
def test_no_row_of_a_source_is_left_out_or_changed(tmp_path, ending):
    rows = [
        {"question": "a", "answer": "b", "extra": 1},
        {"question": "c", "answer": "d", "extra": 2},
        {"question": "e", "answer": "", "extra": 3},
    ]
    write_text(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = list(TaskRows([f"{tmp_path}/rows.jsonl{ending}"]))
    assert [row.raw for row in found] == rows[-len(found) :]
    assert [row.lacks for row in found][-2:] == ["", "empty response"]
    assert len(found) == (2 if ending else 3)


def test_only_what_is_asked_for_is_read(tmp_path):
    write_text(tmp_path / "rows.jsonl", '{"prompt": "a", "completion": "b"}\nthis line is broken\n')
    stream = iter(TaskRows([str(tmp_path / "rows.jsonl")]))
    assert next(stream).conversation["prompt"][0]["content"] == "a"
    with pytest.raises(DataError, match="line 2: broken JSON"):
        next(stream)


@pytest.mark.parametrize(
    ("source", "message"),
    [("[3:9]", "fewer rows"), ("[7:]", "fewer rows"), ("[5:2]", "hold no row"), ("x", "not found")],
)
def test_bounds_and_names_that_are_wrong_are_told(pairs, source, message):
    with pytest.raises(DataError, match=message):
        list(TaskRows([f"{pairs}{source}"]))
