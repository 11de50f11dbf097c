"""The store of what was found: nothing is lost, nothing kept twice, a line that was cut off is dropped."""

import pytest

from dualselect.errors import DataError, ResumeError
from dualselect.evaluation.store import Store, key_of


def test_what_was_added_is_there_again(tmp_path):
    path = tmp_path / "all.responses.jsonl"
    with Store.opened(path) as store:
        assert not path.exists()
        store.add({"a": {"text": "line\nbreak \u2028 and \u00e4"}, "b": [1.5, 2]})
        assert "a" in store
        assert "c" not in store
    with Store.opened(path) as store:
        assert store["a"] == {"text": "line\nbreak \u2028 and \u00e4"}
        assert store["b"] == [1.5, 2]


def test_the_first_value_of_a_key_stands(tmp_path):
    path = tmp_path / "s.jsonl"
    with Store.opened(path) as store:
        store.add({"a": 1})
        store.add({"a": 2, "b": 3})
        store.add({"a": 4})
        assert (store["a"], store["b"]) == (1, 3)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_line_that_was_cut_off_is_dropped_wherever_it_was_cut(tmp_path, cut):
    path = tmp_path / "s.jsonl"
    with Store.opened(path) as store:
        store.add({"a": 1})
        whole = path.read_bytes()
        store.add({"b": "\u00e4\u00f6\u00fc"})
    path.write_bytes(path.read_bytes()[:-cut])
    with Store.opened(path) as store:
        assert "b" not in store
        store.add({"b": 5})
        assert store["b"] == 5
    assert path.read_bytes() == whole + b'{"key": "b", "value": 5}\n'


def test_a_file_that_holds_nothing_whole_is_empty(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_bytes(b'{"key": "a", "val')
    with Store.opened(path) as store:
        assert "a" not in store
    assert path.read_bytes() == b""


def test_another_file_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text('{"prompt": "Why?"}\n')
    with pytest.raises(DataError, match="line 1 is not a line of a store of results"), Store.opened(path):
        pass
    assert path.read_text() == '{"prompt": "Why?"}\n'


def test_two_at_once_are_refused(tmp_path):
    path = tmp_path / "s.jsonl"
    with (
        Store.opened(path),
        pytest.raises(ResumeError, match="another process: wait"),
        Store.opened(path),
    ):
        pass
    with Store.opened(path):
        pass


def test_what_to_do_is_said_in_words_that_every_verb_knows(tmp_path):
    path = tmp_path / "s.jsonl"
    with Store.opened(path), pytest.raises(ResumeError) as busy, Store.opened(path):
        pass
    path.write_text("{}\n")
    with pytest.raises(DataError) as foreign, Store.opened(path):
        pass
    assert "--" not in str(busy.value) + str(foreign.value)  # evaluate has --output, compare and diagnose output_dir


def test_a_full_disk_loses_nothing(tmp_path):
    path = tmp_path / "s.jsonl"
    with Store.opened(path) as store:
        store.add({"a": 1})
        store.path = tmp_path / "full"
        store.path.symlink_to("/dev/full")
        with pytest.raises(OSError, match="space"):
            store.add({"b": 2})
        assert "b" not in store


def test_keys_tell_everything_apart():
    keys = [key_of("a", 1), key_of("a", 2), key_of("a1"), key_of("a", "1"), key_of({"x": 1, "y": 2}), key_of(["a", 1])]
    assert len(set(keys)) == len(keys)
    assert key_of({"x": 1, "y": 2}) == key_of({"y": 2, "x": 1})
