"""The stream of task rows: as `load_rows` reads them, but one at a time, and again."""

import gzip
import json

import pytest
from datasets import Dataset

from dualselect import load_rows
from dualselect.auditing.rows import TaskRows
from dualselect.errors import DataError
from dualselect.system.files import write_text


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


@pytest.mark.parametrize("ending", ["", "[2:5]", "[:2]", "#rejected[1:3]", "[-2:]"])
@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "no newline"])
def test_a_bar_knows_how_many_rows_there_are(pairs, ending, kind):
    path = pairs.with_name(f"rows.{kind}" if kind != "no newline" else "rows.jsonl")
    whole = pairs.read_bytes()
    if kind == "parquet":
        Dataset.from_list([json.loads(line) for line in whole.splitlines()]).to_parquet(path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress(whole))
    else:
        path.write_bytes(whole.rstrip() if kind == "no newline" else whole)
    rows = TaskRows([f"{path}{ending}"])
    assert rows.expected() == len(list(rows))
    assert TaskRows([str(path), "builtin:chat:3"]).expected() is None
    assert TaskRows.of(Dataset.from_list([{"prompt": "a", "completion": "b"}])).expected() == 1


def test_what_cannot_be_counted_is_left_to_the_reading(pairs):
    broken = pairs.with_name("broken.jsonl.gz")
    broken.write_bytes(gzip.compress(pairs.read_bytes())[:-20])
    assert TaskRows([str(broken)]).expected() is None
    with pytest.raises(DataError, match="damaged or cut short"):
        list(TaskRows([str(broken)]))
    empty = pairs.with_name("rows.jsonl")
    empty.write_bytes(b"")
    assert TaskRows([str(pairs), str(empty)]).expected() is None


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
    [
        ("[3:9]", "9 is beyond the end, .*pairs.jsonl has 6 rows"),
        ("[7:]", "7 is beyond the end, .*pairs.jsonl has 6 rows"),
        ("[6:]", "hold no row: the start must come before the stop"),
        ("[5:2]", "hold no row: the start must come before the stop"),
        ("[2:2]", "hold no row: the start must come before the stop"),
        ("[:0]", "hold no row: the start must come before the stop"),
        ("x", "not found"),
    ],
)
def test_bounds_and_names_that_are_wrong_are_told_as_by_load_rows(pairs, source, message):
    with pytest.raises(DataError, match=message) as of_audit:
        list(TaskRows([f"{pairs}{source}"]))
    with pytest.raises(DataError, match=message) as of_training:
        load_rows(f"{pairs}{source}")
    assert str(of_audit.value) == str(of_training.value)


@pytest.mark.parametrize("ending", ["", "[1:]"])
def test_a_file_of_blank_lines_has_no_rows(tmp_path, ending):
    write_text(tmp_path / "blank.jsonl", "\n \n")
    with pytest.raises(DataError, match="blank.jsonl: holds no rows: write at least one"):
        list(TaskRows([f"{tmp_path}/blank.jsonl{ending}"]))


def test_a_folder_is_read_as_load_rows_reads_it_or_refused_as_there(tmp_path):
    for name in "ba":
        write_text(tmp_path / f"{name}.jsonl", json.dumps({"id": name, "prompt": name, "completion": "c"}) + "\n")
    write_text(tmp_path / "README.md", "about")
    assert [row.id for row in TaskRows([str(tmp_path)])] == load_rows(tmp_path).dataset["id"] == ["a", "b"]
    write_text(tmp_path / "c.ndjson", json.dumps({"prompt": "c", "completion": "d"}) + "\n")
    with pytest.raises(DataError, match=r"cannot use c\.ndjson in this folder"):
        TaskRows([str(tmp_path)])


def test_an_id_that_no_file_takes_is_told_with_its_line(tmp_path):
    write_text(tmp_path / "rows.jsonl", '{"id": "\\ud800", "prompt": "a", "completion": "b"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl, line 1: the id contains an unpaired surrogate"):
        list(TaskRows([str(tmp_path / "rows.jsonl")]))


def test_columns_that_are_not_used_are_named_and_a_mapping_is_followed(tmp_path):
    rows = [{"body": "b", "reply": "r", "mood": n} for n in range(2)]
    write_text(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = list(TaskRows([f"{tmp_path}/rows.jsonl?prompt=body,completion=reply"]))
    assert [row.conversation["completion"][0]["content"] for row in found] == ["r", "r"]
    assert [row.left_out for row in found] == [("mood",), ("mood",)]
    assert [row.raw for row in found] == rows
    with pytest.raises(DataError, match=r"did you mean body\?"):
        list(TaskRows([f"{tmp_path}/rows.jsonl?prompt=bodi,completion=reply"]))
