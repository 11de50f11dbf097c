"""The cleaned copy of some data, from the lines of a finished audit."""

import json
from datetime import date

import pytest
from datasets import Dataset

from dualselect.auditing.cleaning import Cleaned, write_cleaned
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
    with pytest.raises(ConfigError, match="is there already, and not what would be written"):
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
