"""The cleaned copy of some data, from the lines of a finished audit."""

import json
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from dualselect.auditing.cleaning import Cleaned, check_cleaned, write_cleaned
from dualselect.auditing.output_files import ROWS
from dualselect.auditing.rows import TaskRows
from dualselect.errors import ConfigError, DataError
from dualselect.system.files import write_text


@pytest.fixture
def folder(tmp_path):
    """An audit of three rows of which the second is in conflict."""
    lines = [{"row": n, "id": f"r{n}", "unscored": "", "conflict": n == 1, "kept": {}} for n in range(3)]
    write_text(tmp_path / "audit" / ROWS, "".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "audit"


def rows(**extra):
    return [{"id": f"r{n}", "prompt": f"is {n}?", "completion": "it", **extra} for n in range(3)]


def data(path, some):
    write_text(path, "".join(json.dumps(row) + "\n" for row in some))
    return TaskRows([str(path)])


def test_a_copy_that_is_there_stays_only_if_it_is_the_same(folder, tmp_path):
    given, copy = data(tmp_path / "rows.jsonl", rows()), tmp_path / "copy.jsonl"
    assert write_cleaned(copy, folder, given) == Cleaned(kept=2, dropped=1, unscored=0)
    before = copy.stat().st_mtime_ns, copy.read_bytes()
    assert write_cleaned(copy, folder, given) == Cleaned(kept=2, dropped=1, unscored=0)
    assert (copy.stat().st_mtime_ns, copy.read_bytes()) == before
    write_text(copy, "my own\n")
    with pytest.raises(ConfigError, match="already exists with different content"):
        write_cleaned(copy, folder, given)
    assert copy.read_text() == "my own\n"


def test_a_row_that_json_cannot_say_is_named_and_leaves_no_copy(folder, tmp_path):
    for given in (
        data(tmp_path / "rows.jsonl", rows(extra="half \ud800")),
        TaskRows.of(Dataset.from_list(rows(extra=date(2026, 1, 1)))),
        TaskRows.of(Dataset.from_list(rows(extra=float("nan")))),
    ):
        with pytest.raises(DataError, match="row r0 cannot be written as JSON"):
            write_cleaned(tmp_path / "copy.jsonl", folder, given)
    assert not list(tmp_path.glob("*copy*"))


def table(path, count=3, **extra):
    times = [datetime(2026, 1, n + 1, tzinfo=UTC) for n in range(count)]
    columns = {name: [row[name] for row in rows()[:count]] for name in ("id", "prompt", "completion")}
    found = pa.table({**columns, "time": pa.array(times, pa.timestamp("ns", "UTC")), **extra})
    pq.write_table(found, path)
    return found


def test_a_copy_of_parquet_keeps_its_types(folder, tmp_path):
    given = table(tmp_path / "rows.parquet", coded=pa.array(["a", "b", "a"]).dictionary_encode())
    copy, data = tmp_path / "copy.parquet", TaskRows([str(tmp_path / "rows.parquet")])
    check_cleaned(copy, data, "auto", sampled=False, finished=False)
    assert write_cleaned(copy, folder, data) == Cleaned(kept=2, dropped=1, unscored=0)
    assert pq.read_table(copy).equals(given.take([0, 2]))
    before = copy.stat().st_mtime_ns
    assert write_cleaned(copy, folder, data).kept == 2
    assert copy.stat().st_mtime_ns == before
    pq.write_table(given, copy)
    with pytest.raises(ConfigError, match="already exists with different content"):
        write_cleaned(copy, folder, data)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_a_copy_of_a_part_of_several_parquet_files(folder, tmp_path):
    (tmp_path / "rows").mkdir()
    given = [table(tmp_path / "rows" / f"{name}.parquet", count) for name, count in (("a", 2), ("b", 3))]
    source = TaskRows([f"{tmp_path}/rows[1:4]"])
    lines = [{"row": row.number, "id": row.id, "unscored": "", "conflict": row.number == 1} for row in source]
    write_text(folder / ROWS, "".join(json.dumps(line) + "\n" for line in lines))
    assert write_cleaned(tmp_path / "copy.parquet", folder, source).kept == 2
    assert pq.read_table(tmp_path / "copy.parquet").equals(pa.concat_tables(given).take([1, 3]))


@pytest.mark.parametrize(
    ("data", "copy", "message"),
    [
        ("rows.parquet", "copy.jsonl", "cannot be written as JSON .* or give the copy a name that ends in .parquet"),
        (
            "rows.parquet",
            "copy.csv",
            "as JSONL, or as Parquet: use a name that ends in .jsonl or",
        ),
        ("rows.jsonl", "copy.parquet", "needs Parquet files as data, .* ends in .jsonl"),
        ("rows.parquet#rejected", "copy.parquet", "needs Parquet files as data, .* ends in .jsonl"),
    ],
)
def test_a_copy_that_cannot_be_written_is_refused_before_the_audit(tmp_path, data, copy, message):
    table(tmp_path / "rows.parquet", rejected=pa.array(["x"] * 3))
    write_text(tmp_path / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows()))
    with pytest.raises((ConfigError, DataError), match=message):
        check_cleaned(tmp_path / copy, TaskRows([f"{tmp_path}/{data}"]), "auto", sampled=False, finished=False)
