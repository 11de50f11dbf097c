"""Tokens of an earlier start: used when everything is the same, made anew when anything is not, or is damaged."""

import logging
import os

import pytest
from rows_for_tests import conversation_rows
from tokenizers_for_tests import chatml_tokenizer

from dualselect import DualSelectConfig
from dualselect.data.rendering import fixed_date
from dualselect.training import token_cache
from dualselect.training.preparation import prepare_rows


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DUALSELECT_CACHE", str(tmp_path))
    monkeypatch.setattr(token_cache, "FEWEST_ROWS", 4)
    return tmp_path / "tokens"


def prepare(rows=None, tokenizer=None, **settings):
    config = DualSelectConfig("unused", use_cpu=True, **settings)
    return prepare_rows(rows or conversation_rows(12), tokenizer or chatml_tokenizer(), config, name="train")


def made_anew(caplog, *arguments, **settings):
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepared = prepare(*arguments, **settings)
    return "cached tokens are used" not in caplog.text, prepared


def test_the_second_start_uses_the_tokens_and_the_report_of_the_first(folder, caplog):
    rows = conversation_rows(12, "{number}" + " books" * 20)
    first, one = made_anew(caplog, rows, max_length=40)
    report = caplog.records[-1].message
    second, other = made_anew(caplog, rows, max_length=40)
    assert (first, second) == (True, False)
    assert other.tokens[:] == one.tokens[:]
    assert other.tokens.features == one.tokens.features
    assert other.tokens_sha256 == one.tokens_sha256
    assert (other.ids, other.kinds) == (one.ids, one.kinds)
    assert caplog.records[-1].message == report
    assert "truncated" in report


def test_anything_that_decides_the_tokens_makes_them_anew(caplog):
    prepare()
    dated = chatml_tokenizer()
    dated.chat_template = "{{ strftime_now('%Y') }}" + dated.chat_template
    later = chatml_tokenizer()
    later.chat_template = dated.chat_template
    fixed_date(dated, "2024-01-01")
    fixed_date(later, "2025-01-01")
    ended = chatml_tokenizer()
    ended.eos_token = "<|endoftext|>"
    for arguments, settings in (
        ((conversation_rows(12, "Another {number}."),), {}),
        ((conversation_rows(11),), {}),
        ((None, dated), {}),
        ((None, later), {}),
        ((None, ended), {"prompt_format": "human_assistant"}),
        ((), {"prompt_format": "human_assistant"}),
        ((), {"max_length": 30}),
        ((), {"supervise": "all"}),
    ):
        assert made_anew(caplog, *arguments, **settings)[0]
        assert not made_anew(caplog, *arguments, **settings)[0]


def test_a_damaged_file_is_not_used(folder, caplog):
    whole = prepare().tokens[:]
    (file,) = folder.iterdir()
    written = file.read_bytes()
    for damaged in (written[:-9], written[:100] + bytes([written[100] ^ 1]) + written[101:], b"", written[::-1]):
        file.write_bytes(damaged)
        anew, prepared = made_anew(caplog)
        assert anew
        assert prepared.tokens[:] == whole
    assert file.read_bytes() == written


def test_it_can_be_switched_off_and_small_data_are_not_kept(folder):
    prepare(token_cache=False)
    prepare(conversation_rows(3))
    assert not folder.exists()


def test_a_folder_that_cannot_be_written_is_a_warning(folder, caplog):
    folder.write_text("a file", encoding="utf-8")
    assert made_anew(caplog)[0]
    assert "could not be cached" in caplog.text


def test_the_oldest_files_are_deleted(folder, monkeypatch):
    prepare(max_length=100)
    (first,) = folder.iterdir()
    prepare(max_length=101)
    (second,) = set(folder.iterdir()) - {first}
    os.utime(first, (2, 2))
    os.utime(second, (1, 1))
    monkeypatch.setattr(token_cache, "MOST_BYTES", int(2.5 * first.stat().st_size))
    prepare(max_length=102)
    assert first.exists()
    assert not second.exists()
    assert len(list(folder.iterdir())) == 2
