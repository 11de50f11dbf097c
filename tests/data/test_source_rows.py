"""Sources by name: built-in data beside files, and paths that work from anywhere."""

import json
from collections import Counter

import pytest

from dualselect.data.source_rows import absolute_source, check_columns, local_files, mapped_sources, read_sources
from dualselect.errors import ConfigError, DataError


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"own-{n}", "question": f"q{n}?", "answer": f"a{n}"} for n in range(6)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_builtin_is_a_mix_for_the_task_and_two_sides_for_the_pool(place):
    task = read_sources(["builtin"], "task_data").dataset
    pool = read_sources(["builtin"], "reference_data").dataset
    kinds = list(task["kind"])
    assert set(kinds) == {"task", "risky", "lookalike", "chat"}
    assert kinds.count("risky") / len(kinds) == pytest.approx(0.15)
    assert Counter(pool["kind"]) == {"refusal": 100, "lookalike": 100}
    assert len(set(read_sources(["builtin[0:4]"], "reference_data").dataset["kind"])) == 2
    assert not {str(row) for row in task["prompt"]} & {str(row) for row in pool["prompt"]}


@pytest.mark.parametrize(
    ("source", "count"), [("builtin:risky", 200), ("builtin:risky:30", 30), ("builtin:risky[10:40]", 30)]
)
def test_one_kind_of_builtin_rows(place, source, count):
    rows = read_sources([source], "task_data").dataset
    assert len(rows) == count
    assert set(rows["kind"]) == {"risky"}


def test_a_slice_of_builtin_rows_is_a_slice_of_the_longer_list(place):
    whole = list(read_sources(["builtin:task:40"], "task_data").dataset["id"])
    assert list(read_sources(["builtin:task[10:40]"], "task_data").dataset["id"]) == whole[10:]


def test_files_and_builtin_rows_together(place):
    found = read_sources(["builtin:risky:3", "own.jsonl[0:4]"], "task_data")
    assert len(found.dataset) == 7
    assert set(found.dataset["kind"]) == {"", "risky"}
    assert found.files == [place / "own.jsonl"]
    assert found.sources == ["builtin:risky:3", f"{place}/own.jsonl[0:4]"]
    assert any("own.jsonl" in line for line in found.notes)


def test_sources_mean_the_same_from_everywhere(place):
    assert absolute_source("own.jsonl#rejected[0:2]") == f"{place}/own.jsonl#rejected[0:2]"
    assert absolute_source("builtin:task") == "builtin:task"
    assert absolute_source("somebody/rows:train") == "somebody/rows:train"


def test_only_files_that_hold_rows_count_as_files_of_a_folder(place):
    folder = place / "rows"
    folder.mkdir()
    (folder / "README.md").write_text("about")
    (folder / "a.jsonl").write_text("{}")
    assert local_files("rows") == [folder / "a.jsonl"] or local_files("rows") == [
        folder.relative_to(place) / "a.jsonl"
    ]


def test_a_folder_with_something_unknown_has_no_files(place):
    (place / "rows").mkdir()
    for name in ("a.jsonl", "b.ndjson"):
        (place / "rows" / name).write_text("{}")
    with pytest.raises(DataError, match="cannot use b.ndjson in this folder"):
        local_files("rows")


@pytest.mark.parametrize("source", ["builtin:poems", "builtin:task:0", "builtin:task[5:5]", "builtin:task:many"])
def test_builtin_names_that_mean_nothing_say_what_does(place, source):
    with pytest.raises(DataError, match="lookalike|larger slice"):
        read_sources([source], "task_data")


def test_no_source_is_an_error_that_names_the_setting(place):
    with pytest.raises(ConfigError, match="reference_data is missing: write --reference_data"):
        read_sources([], "reference_data")


def test_a_mapping_that_one_role_has_suits_all_and_one_that_none_has_is_refused(place):
    (place / "mails.jsonl").write_text('{"body": "b", "reply": "r"}\n')

    def roles(columns):
        named = {"task_data": ["mails.jsonl"], "reference_data": ["own.jsonl", "builtin:refusal:3"]}
        return {role: read_sources(mapped_sources(some, columns), role) for role, some in named.items()}

    found = roles("prompt=body,completion=reply")
    check_columns(found)
    assert [turn["content"] for turn in found["task_data"].dataset[0]["prompt"]] == ["b"]
    (place / "mails.jsonl").write_text('{"prompt": "b", "reply": "r", "completion": "c"}\n')
    with pytest.raises(DataError, match=r"the data have no such column: completion=repli \(did you mean reply\?\)"):
        check_columns(roles("completion=repli"))


def test_plain_rows_and_rows_with_tool_calls_are_joined(place):
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    row = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [call]}],
        "tools": [call],
    }
    (place / "calls.jsonl").write_text(json.dumps(row) + "\n")
    found = read_sources(["calls.jsonl", "builtin:task:2"], "task_data").dataset
    assert found[0]["completion"][0]["tool_calls"] == [call]
    assert [bool(row["tools"]) for row in found] == [True, False, False]
