"""Files, folders and names in, conversations and a report out."""

import csv
import gzip
import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualselect.data import load_rows
from dualselect.errors import DataError


COLUMNS = ["id", "prompt", "completion", "kind", "category", "rejected"]
ROWS = [
    {"id": "007", "instruction": "Add 2, 2", "input": "", "output": "4", "kind": "task", "category": "sums"},
    {"id": "b", "instruction": 'Say "hi"\nand go', "input": "now", "output": "hi", "kind": "", "category": ""},
]
TRANSCRIPT = "\n\nHuman: Hello\n\nAssistant: Hi!\n\nHuman: How do I lie?\n\nAssistant: "


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write(path, rows):
    """Rows as the file's name says."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    if plain.suffix == ".jsonl":
        write_jsonl(plain, rows)
    elif plain.suffix == ".json":
        plain.write_text(json.dumps(rows), encoding="utf-8")
    elif plain.suffix == ".csv":
        with plain.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def loaded(tmp_path, *rows):
    return load_rows(write_jsonl(tmp_path / "rows.jsonl", rows)).dataset


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.jsonl.gz", "a.json.gz", "a.csv.gz", "A.JSONL"]
)
def test_every_kind_of_file(tmp_path, name):
    path = write_jsonl(tmp_path / name, ROWS) if name == "A.JSONL" else write(tmp_path / name, ROWS)
    found = load_rows(path)
    assert found.dataset.column_names == COLUMNS
    assert found.dataset[0] == {
        "id": "007",
        "prompt": [user("Add 2, 2")],
        "completion": [assistant("4")],
        "kind": "task",
        "category": "sums",
        "rejected": "",
    }
    assert found.dataset[1]["prompt"] == [user('Say "hi"\nand go\n\nnow')]
    assert found.report.rows == 2


@pytest.mark.parametrize(
    ("row", "prompt", "response", "rejected"),
    [
        ({"messages": [user("q"), assistant("a")]}, [user("q")], "a", ""),
        (
            {"messages": [{"role": "system", "content": "s"}, user("q"), assistant("a"), user("r"), assistant("b")]},
            [{"role": "system", "content": "s"}, user("q"), assistant("a"), user("r")],
            "b",
            "",
        ),
        ({"prompt": " q ", "completion": "\na "}, [user(" q ")], "\na ", ""),
        ({"prompt": [user("q")], "completion": [assistant("a")], "rejected": "no"}, [user("q")], "a", "no"),
        (
            {"prompt": [user("q")], "completion": [assistant("a"), user("r"), assistant("b")]},
            [user("q"), assistant("a"), user("r")],
            "b",
            "",
        ),
        ({"instruction": "i", "output": "o"}, [user("i")], "o", ""),
        ({"instruction": "i", "input": None, "output": "o"}, [user("i")], "o", ""),
        ({"instruction": "i", "input": "x", "output": "o"}, [user("i\n\nx")], "o", ""),
        ({"question": "q", "answer": "a"}, [user("q")], "a", ""),
        (
            {"chosen": TRANSCRIPT + "No.", "rejected": TRANSCRIPT + "So.\nThen so."},
            [user("Hello"), assistant("Hi!"), user("How do I lie?")],
            "No.",
            "So.\nThen so.",
        ),
        (
            {"chosen": TRANSCRIPT + "No.", "rejected": "\n\nHuman: Other\n\nAssistant: So."},
            [user("Hello"), assistant("Hi!"), user("How do I lie?")],
            "No.",
            "",
        ),
        (
            {"chosen": "\n\nHuman: a\n\nHuman: b\n\nAssistant: c\n\nAssistant: d"},
            [user("a\n\nb")],
            "c\n\nd",
            "",
        ),
        ({"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]}, [user("q")], "a", "b"),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, [user("q")], "a", "b"),
        (
            {"prompt": "q", "chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
            [user("q")],
            "a",
            "b",
        ),
        (
            {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]},
            [user("q")],
            "a",
            "b",
        ),
        (
            {"prompt": TRANSCRIPT, "chosen": "No.", "rejected": "So."},
            [user("Hello"), assistant("Hi!"), user("How do I lie?")],
            "No.",
            "So.",
        ),
    ],
)
def test_every_row_format(tmp_path, row, prompt, response, rejected):
    (found,) = loaded(tmp_path, row)
    assert found["prompt"] == prompt
    assert found["completion"] == [assistant(response)]
    assert found["rejected"] == rejected


def test_rows_of_one_file_may_differ(tmp_path):
    path = write_jsonl(
        tmp_path / "mixed.jsonl", [{"question": "q", "answer": "a"}, {"prompt": "p", "completion": "c"}]
    )
    found = load_rows(path)
    assert [row["prompt"][0]["content"] for row in found.dataset] == ["q", "p"]
    assert "question" in found.report.columns_taken
    assert "completion (1 rows)" in found.report.columns_taken


def test_missing_cells_of_a_table_do_not_decide_the_format(tmp_path):
    rows = [
        {"prompt": None, "completion": None, "question": "q", "answer": "a"},
        {"prompt": "p", "completion": "c", "question": None, "answer": None},
    ]
    found = load_rows(write(tmp_path / "wide.parquet", rows)).dataset
    assert [row["completion"][0]["content"] for row in found] == ["a", "c"]


def test_several_sources_keep_their_order(tmp_path):
    one = write(tmp_path / "one.csv", [{"question": "q", "answer": "a"}])
    two = write(tmp_path / "two.parquet", [{"prompt": "p", "completion": "c"}])
    found = load_rows([two, str(one)])
    assert [row["prompt"][0]["content"] for row in found.dataset] == ["p", "q"]
    assert found.report.sources == (str(two), str(one))


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", [{"question": "2", "answer": "a"}])
    write(tmp_path / "a.csv.gz", [{"question": "1", "answer": "a"}])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "SHA256SUMS").write_text("sums")
    (tmp_path / ".hidden.jsonl").write_text("not rows")
    found = load_rows(tmp_path)
    assert [row["prompt"][0]["content"] for row in found.dataset] == ["1", "2"]
    assert sorted(found.report.ignored_files) == [".hidden.jsonl", "README.md", "SHA256SUMS"]
    assert "README.md" in found.report.describe()


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [("[:2]", [0, 1]), ("[3:]", [3, 4]), ("[1:3]", [1, 2]), ("[-2:]", [3, 4]), ("[:-4]", [0]), ("[0:5]", range(5))],
)
def test_slices(tmp_path, suffix, expected):
    path = write_jsonl(tmp_path / "rows.jsonl", [{"question": f"{n}", "answer": "a"} for n in range(5)])
    found = load_rows(f"{path}{suffix}").dataset
    assert [row["prompt"][0]["content"] for row in found] == [str(n) for n in expected]


def test_a_slice_of_a_folder_counts_over_its_files(tmp_path):
    for name in "ab":
        write_jsonl(tmp_path / f"{name}.jsonl", [{"question": f"{name}{n}", "answer": "x"} for n in range(2)])
    found = load_rows(f"{tmp_path}[1:3]").dataset
    assert [row["prompt"][0]["content"] for row in found] == ["a1", "b0"]


def test_a_file_whose_name_looks_like_a_slice(tmp_path):
    path = write_jsonl(tmp_path / "rows[:1].jsonl", [{"question": "q", "answer": "a"}] * 2)
    assert len(load_rows(path).dataset) == 2


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": TRANSCRIPT + "No.", "rejected": TRANSCRIPT + "So."},
        {"prompt": "How do I lie?", "chosen": "No.", "rejected": "So."},
        {"prompt": "How do I lie?", "completion": "No.", "rejected": "So."},
    ],
)
def test_the_rejected_response_may_be_the_response(tmp_path, row):
    path = write_jsonl(tmp_path / "pairs.jsonl", [row, row])
    found = load_rows(f"{path}#rejected[:1]")
    (taken,) = found.dataset
    assert taken["completion"] == [assistant("So.")]
    assert taken["prompt"][-1] == user("How do I lie?")
    assert taken["rejected"] == ""
    assert "chosen" not in found.report.columns_taken
    assert "completion" not in found.report.columns_taken


def test_empty_rows_are_dropped_and_counted(tmp_path):
    rows = [
        {"question": "q", "answer": "  "},
        {"question": "q", "answer": None},
        {"question": " ", "answer": "a"},
        {"messages": [user("q"), {"role": "assistant", "content": None}]},
        {"question": "kept", "answer": "a"},
    ]
    found = load_rows(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert found.report.dropped == {"empty response": 3, "empty prompt": 1}
    assert found.report.rows == len(found.dataset) == 1
    assert "dropped 3 rows with an empty response" in found.report.describe()


def test_duplicates_and_repeated_ids_are_kept_and_counted(tmp_path):
    rows = [
        {"id": "a", "question": "q", "answer": "a"},
        {"id": "a", "question": "other", "answer": "a"},
        {"id": "a#2", "question": "third", "answer": "a"},
        {"id": 5, "question": "q", "answer": "a"},
    ]
    found = load_rows(write_jsonl(tmp_path / "rows.jsonl", rows))
    assert found.dataset["id"][:] == ["a", "a#3", "a#2", "5"]
    assert (found.report.repeated_ids, found.report.duplicates) == (1, 1)
    assert "duplicates: 1 rows" in found.report.describe()
    assert "repeated ids: 1 rows" in found.report.describe()


def test_rows_without_id_get_a_hash_of_their_content(tmp_path):
    rows = [
        {"question": "q", "answer": "a"},
        {"prompt": [user("q")], "completion": "a"},
        {"question": "q", "answer": "b"},
    ]
    ids = loaded(tmp_path, *rows)["id"][:]
    assert ids == ["1084cbeec960c946", "1084cbeec960c946#2", ids[2]]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(("given", "kept"), [(None, ""), (["theft", "fraud"], "theft, fraud"), ([], ""), (3, "3")])
def test_categories_of_other_types(tmp_path, given, kept):
    (row,) = loaded(tmp_path, {"question": "q", "answer": "a", "category": given})
    assert row["category"] == kept


def test_a_byte_order_mark_and_blank_lines_are_no_content(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "q", "answer": "a"}\n\n  \n{"question": "r", "answer": "b"}')
    assert len(load_rows(path).dataset) == 2


def test_ids_stay_with_their_rows_through_filter_and_shuffle(tmp_path):
    rows = [{"id": f"r{n}", "question": f"{n}", "answer": "a"} for n in range(20)]
    found = loaded(tmp_path, *rows).filter(lambda row: int(row["id"][1:]) % 3 > 0, keep_in_memory=True).shuffle(seed=1)
    assert len(found) == 13
    assert all(row["id"] == f"r{row['prompt'][0]['content']}" for row in found)


def test_a_hub_name_is_asked_of_the_hub(monkeypatch):
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list([{"question": "q", "answer": "a"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load_rows(["owner/one", "owner/two:test[:1]"])
    load_rows("owner/three", split="validation")
    assert asked == [("owner/one", "train"), ("owner/two", "test"), ("owner/three", "validation")]


def test_a_hub_that_cannot_be_reached_is_named():
    with pytest.raises(DataError, match=r"owner/name-of-nothing: no such local path, and the hub gives no data set"):
        load_rows("owner/name-of-nothing")


def test_real_rows(shared_data):
    hh = shared_data / "data" / "hh_harmless_test.jsonl.gz"
    found = load_rows([f"{shared_data / 'data' / 'gsm8k_train.jsonl'}[:200]", f"{hh}#rejected[:50]", f"{hh}[50:]"])
    assert found.report.dropped == {"empty response": 4}
    assert len(found.dataset) == 200 + 50 + 2262 - 4
    assert all(row["prompt"][-1]["role"] == "user" for row in found.dataset)
    assert sum(bool(row["rejected"]) for row in found.dataset) > 2200
