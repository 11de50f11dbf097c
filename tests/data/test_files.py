"""Files of any types and sizes: read, or refused within a bound on memory, by file and line."""

import datetime
import decimal
import gzip
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dualselect.data import load_rows
from dualselect.errors import ConfigError, DataError
from dualselect.runs.config_file import read_mapping


LIMIT = 2**16


def test_a_csv_cell_of_two_megabytes_is_read(tmp_path):
    cell = 'He said ""hi"",\n' * 150_000
    (tmp_path / "rows.csv").write_text(f'question,answer\nq,a\n"{cell}",b\n')
    found = load_rows(tmp_path / "rows.csv").dataset
    assert found[1]["prompt"][0]["content"] == cell.replace('""', '"')


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.csv.gz"])
def test_a_mark_and_line_ends_of_windows(tmp_path, name):
    text = "question,answer\r\nq,a\r\n" if ".csv" in name else '{"question": "q", "answer": "a"}\r\n'
    data = text.encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert load_rows(tmp_path / name).dataset[0]["completion"][0]["content"] == "a"


COLUMNS = {
    "timestamp": pa.array([1, 2], pa.timestamp("ns", "Europe/Rome")),
    "far date": pa.array([2**62, None], pa.timestamp("ms")),
    "decimal": pa.array([decimal.Decimal("1.5"), None], pa.decimal128(10, 2)),
    "binary": pa.array([b"\xff", b""], pa.large_binary()),
    "time": pa.array([datetime.time(1), None]),
    "duration": pa.array([1, 2], pa.duration("us")),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
    "nested": pa.array([{"a": [{"b": datetime.date(2026, 1, 1)}]}, None]),
    "coded": pa.array(["x", "y"]).dictionary_encode(),
    "half": pa.array([1.5, 2.5], pa.float32()).cast(pa.float16()),
}


def test_parquet_of_any_types_is_read_and_what_is_unused_is_named(tmp_path):
    table = pa.table(
        {
            "question": pa.array(["q", "r"], pa.large_string()),
            "answer": pa.array(["a", "a"]).dictionary_encode(),
            "kind": pa.array(["k", None], pa.string_view()).cast(pa.string()),
            **COLUMNS,
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    found = load_rows(tmp_path / "rows.parquet")
    assert [row["prompt"][0]["content"] for row in found.dataset] == ["q", "r"]
    assert set(found.report.unused_columns) == set(COLUMNS)
    assert found.report.unused_columns["far date"] == 1


def test_list_views_of_turns(tmp_path):
    kind = pa.struct({"role": pa.string(), "content": pa.string()})
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    table = pa.table({"messages": pa.array([turns], pa.large_list(kind))})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert load_rows(tmp_path / "rows.parquet").dataset[0]["prompt"] == turns[:1]


def row(size):
    return {"question": "q", "answer": "a" * size}


def write(path, rows):
    text = "".join(json.dumps(one) + "\n" for one in rows)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".csv":
        path.write_text("question,answer\n" + "".join(f"{one['question']},{one['answer']}\n" for one in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "place"),
    [("r.jsonl", "line 2"), ("r.jsonl.gz", "line 2"), ("r.json", "row 2"), ("r.csv", "row 2"), ("r.parquet", "row 2")],
)
def test_a_row_beyond_the_limit_is_refused_by_its_place(tmp_path, name, place):
    path = write(tmp_path / name, [row(10), row(LIMIT + 1)])
    with pytest.raises(DataError, match=rf"{name}, {place} is larger than max_row_bytes \(65,536 bytes\)"):
        load_rows(path, max_row_bytes=LIMIT)
    assert len(load_rows(path).dataset) == 2


@pytest.mark.parametrize("name", ["bomb.jsonl.gz", "bomb.json.gz", "bomb.csv.gz"])
def test_a_gzip_bomb_is_refused_within_a_bound_on_memory(tmp_path, name):
    path = tmp_path / name
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(16):
            file.write(b" " * 2**22)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"{name}.* (expands to more than|is larger than max_row_bytes)"):
            load_rows(path, max_row_bytes=2**20)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("levels", [300, 3_000, 50_000])
@pytest.mark.parametrize("name", ["deep.jsonl", "deep.json"])
def test_deep_nesting_is_refused_by_its_place(tmp_path, name, levels):
    text = f'{{"question": "q", "answer": "a", "x": {"[" * levels}{"]" * levels}}}'
    (tmp_path / name).write_text(f"[{text}]" if name == "deep.json" else text)
    with pytest.raises(DataError, match=rf"{name}(, (line|row) 1)?: (lists and objects are nested|JSON that cannot)"):
        load_rows(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rho: " + "[" * 1_500 + "]" * 1_500, "nested too deep"),
        ("a" * 2**21, "has 2,097,152 bytes, but the limit is"),
        ("a: &a 1\nb: [" + "*a, " * 60 + "1]", "more than 50 aliases"),
    ],
)
def test_a_hostile_config_file_is_refused(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_mapping(tmp_path / "config.yaml")
