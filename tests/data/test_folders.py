"""Folders: one split of those that their names say, and what save_to_disk leaves."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from dualselect.auditing.rows import TaskRows
from dualselect.data import load_rows
from dualselect.data.source_rows import absolute_source, local_files
from dualselect.errors import DataError


def put(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = {"question": name, "answer": "a"}
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist([row]), path)
        else:
            path.write_text(json.dumps(row) + "\n")


def questions(source):
    found = [row["prompt"][0]["content"] for row in load_rows(source).dataset]
    assert [row.conversation["prompt"][0]["content"] for row in TaskRows([str(source)])] == found
    return found


@pytest.mark.parametrize(
    ("names", "train", "test"),
    [
        (["train.jsonl", "test.jsonl", "validation.jsonl"], ["train.jsonl"], ["test.jsonl"]),
        (
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-00000-of-00001.parquet"],
            ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
            ["test-00000-of-00001.parquet"],
        ),
        (
            ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"],
            ["data/train-00000-of-00001.parquet"],
            ["data/test-00000-of-00001.parquet"],
        ),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], ["train/a.jsonl", "train/b.jsonl"], ["test/a.jsonl"]),
        (["gsm8k_train.jsonl", "gsm8k_test.jsonl"], ["gsm8k_train.jsonl"], ["gsm8k_test.jsonl"]),
        (["rows.jsonl", "test.jsonl"], ["rows.jsonl"], ["test.jsonl"]),
        (["Train.jsonl", "TEST.jsonl"], ["Train.jsonl"], ["TEST.jsonl"]),
    ],
)
def test_the_train_split_alone_or_the_one_that_is_named(tmp_path, names, train, test):
    put(tmp_path, *names)
    (tmp_path / "README.md").write_text("about")
    assert questions(tmp_path) == train
    assert questions(f"{tmp_path}:test") == test
    assert questions(f"{tmp_path}:test[:1]") == test[:1]
    report = load_rows(tmp_path).report
    left = {name.partition(" (")[0] for name in report.ignored_files}
    assert left == {"README.md", *names} - set(train)
    assert f"{test[0]} (split test)" in report.describe()
    assert local_files(f"{tmp_path}:test") == [tmp_path / name for name in test]
    assert len(load_rows(tmp_path, split="test").dataset) == len(test)


def test_splits_of_one_name_and_whole_names(tmp_path):
    put(tmp_path, "train_sft-00000-of-00001.parquet", "train_gen-00000-of-00001.parquet")
    assert len(questions(tmp_path)) == 2
    assert questions(f"{tmp_path}:train_sft") == ["train_sft-00000-of-00001.parquet"]


def test_a_folder_with_one_split_is_that_split(tmp_path):
    put(tmp_path, "test-0.jsonl", "test-1.jsonl")
    assert questions(tmp_path) == ["test-0.jsonl", "test-1.jsonl"]


def test_splits_without_train_have_to_be_chosen(tmp_path):
    put(tmp_path, "test.jsonl", "dev.jsonl")
    with pytest.raises(DataError, match=rf"the splits test, validation and none named train: write {tmp_path}:test"):
        load_rows(tmp_path)
    assert questions(f"{tmp_path}:dev") == questions(f"{tmp_path}:validation") == ["dev.jsonl"]
    with pytest.raises(DataError, match=r"has no split holdout \(found: test, validation\)"):
        load_rows(f"{tmp_path}:holdout")


def test_a_source_with_a_split_means_the_same_from_everywhere(tmp_path, monkeypatch):
    put(tmp_path / "rows", "train.jsonl", "test.jsonl")
    monkeypatch.chdir(tmp_path)
    assert absolute_source("rows:test[:1]?prompt=question") == f"{tmp_path}/rows:test[:1]?prompt=question"


def dataset(*questions):
    return Dataset.from_list([{"question": question, "answer": "a"} for question in questions])


def test_folders_of_save_to_disk(tmp_path):
    rows = dataset("a", "b", "c")
    rows.select([2, 0]).save_to_disk(tmp_path / "one")
    assert questions(tmp_path / "one") == ["c", "a"]
    rows.save_to_disk(tmp_path / "shards", num_shards=3)
    (tmp_path / "shards" / "cache-0123456789abcdef.arrow").write_bytes(b"of a map")
    assert questions(tmp_path / "shards") == ["a", "b", "c"]
    DatasetDict({"train": rows, "test": dataset("d")}).save_to_disk(tmp_path / "splits")
    assert questions(tmp_path / "splits") == ["a", "b", "c"]
    assert questions(f"{tmp_path}/splits:test") == ["d"]
    assert TaskRows([str(tmp_path / "one")]).expected() in (None, 2)
    (tmp_path / "shards" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(DataError, match=r"data-00001-of-00003.arrow is missing, which state.json names"):
        load_rows(tmp_path / "shards")


def test_what_load_rows_gives_can_be_saved_and_read_again(tmp_path):
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": [1, "2"]}}}
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}], "tools": [call]}
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = load_rows(tmp_path / "rows.jsonl").dataset
    loaded.save_to_disk(tmp_path / "saved")
    loaded.to_parquet(tmp_path / "rows.parquet")
    for source in ("saved", "rows.parquet"):
        assert load_rows(tmp_path / source).dataset[:] == loaded[:]
