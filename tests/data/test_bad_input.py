"""Every message names the file, the row or the setting, and what to change."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer, gemma_tokenizer

from dualselect.data import as_conversations, load_rows, tokenize
from dualselect.errors import ConfigError, DataError, ModelError


GOOD = '{"question": "q", "answer": "a"}\n'
USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


def messages(*turns):
    return json.dumps({"messages": turns})


def parquet_bytes():
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([{"question": "q", "answer": "a"}] * 50), sink)
    return sink.getvalue().to_pybytes()


# name of the file, what is in it, parts of the message
FILES = {
    "empty file": ("rows.jsonl", "", ["rows.jsonl", "empty", "write at least one row"]),
    "blank lines only": ("rows.jsonl", "\n \n", ["rows.jsonl", "no rows", "write at least one"]),
    "empty list": ("rows.json", "[]", ["rows.json", "no rows"]),
    "header only": ("rows.csv", "question,answer\n", ["rows.csv", "no rows"]),
    "wrong columns": ("rows.jsonl", GOOD + '{"text": "x"}', ["rows.jsonl, line 2", "'text'", "question + answer"]),
    "no columns": ("rows.jsonl", "{}", ["rows.jsonl, line 1", "found: none"]),
    "not UTF-8": ("rows.jsonl", GOOD.encode() + b'{"question": "\xe9"}', ["line 2", "0xe9", "position 15", "UTF-8"]),
    "CSV not UTF-8": ("rows.csv", b"question,answer\nq,caf\xe9\n", ["rows.csv, line 2", "save the file as UTF-8"]),
    "UTF-16": ("rows.json", "[]".encode("utf-16"), ["rows.json, line 1", "save the file as UTF-8"]),
    "broken JSON": ("rows.jsonl", GOOD * 2 + '{"question": "q",', ["rows.jsonl, line 3:", "column 18", "whole JSON"]),
    "cut JSON file": ("rows.json", '[\n{"question": "q"},\n{"ans', ["rows.json, line 3", "broken JSON", ".jsonl"]),
    "JSONL named JSON": ("rows.json", GOOD * 2, ["rows.json, line 2", "is named .jsonl"]),
    "line not an object": ("rows.jsonl", GOOD + "[1, 2]", ["rows.jsonl, line 2", "JSON list", "must be an object"]),
    "line is null": ("rows.jsonl", "null\n", ["rows.jsonl, line 1", "JSON null"]),
    "deep nesting": ("rows.jsonl", "[" * 200_000, ["rows.jsonl, line 1", "one whole JSON object"]),
    "top level no list": ("rows.json", '{"data": []}', ["rows.json", "JSON object, not a list", "[{...}, {...}]"]),
    "item no object": ("rows.json", '[{"question": "q", "answer": "a"}, 3]', ["rows.json, row 2", "JSON number"]),
    "cut gzip": ("rows.jsonl.gz", gzip.compress(GOOD.encode() * 99)[:-12], ["rows.jsonl.gz", "cut short", "again"]),
    "not gzip": ("rows.jsonl.gz", GOOD, ["rows.jsonl.gz", "not gzip inside", "rename"]),
    "gzip unsaid": ("rows.jsonl", gzip.compress(GOOD.encode()), ["rows.jsonl", "is gzip inside", "rename"]),
    "binary": ("rows.jsonl", bytes(range(128, 256)), ["rows.jsonl, line 1", "not UTF-8", "name it by what it is"]),
    "Parquet unsaid": ("rows.csv", parquet_bytes(), ["rows.csv", "is Parquet inside", "rename"]),
    "not Parquet": ("rows.parquet", GOOD, ["rows.parquet", "not Parquet inside", "export it again"]),
    "cut Parquet": ("rows.parquet", parquet_bytes()[:200], ["rows.parquet", "not a whole Parquet file", "again"]),
    "CSV without header": (
        "rows.csv",
        "What is 1+1?,2\nAnd 2?,4\n",
        ["rows.csv, row 1", "'2'", "needs a header line"],
    ),
    "ragged CSV": ("rows.csv", "question,answer\nq,a\nq,a,b\n", ["rows.csv, row 3", "3 cells", "in double quotes"]),
    "column twice": ("rows.csv", "question,answer,answer\nq,a,b\n", ["rows.csv", "a column twice", "rename"]),
    "unknown ending": ("rows.txt", GOOD, ["rows.txt", "ending is not known", ".jsonl"]),
    "messages no list": ("rows.jsonl", '{"messages": "hi"}', ["line 1", "messages is of type str", '"role"']),
    "messages empty": ("rows.jsonl", '{"messages": []}', ["line 1", "messages is empty", '"role"']),
    "turn no object": ("rows.jsonl", messages("hi"), ["line 1", "turn 1 of messages is of type str", '"role"']),
    "no role": ("rows.jsonl", messages({"by": "x", "content": "q"}), ["turn 1", "no 'role'", "by, content"]),
    "no content": ("rows.jsonl", messages(USER, {"role": "assistant"}), ["turn 2", "no 'content'", "add it"]),
    "unknown role": ("rows.jsonl", messages(USER | {"role": "bot"}), ["turn 1", "'bot'", "system, user, assistant"]),
    "content null": (
        "rows.jsonl",
        messages(USER | {"content": None}, ASSISTANT),
        ["turn 1", "null", "remove the row"],
    ),
    "content number": ("rows.jsonl", messages(USER, ASSISTANT | {"content": 4}), ["turn 2", "of type int, not text"]),
    "no response": ("rows.jsonl", messages(USER), ["line 1", "by user", "with an assistant turn"]),
    "same role twice": ("rows.jsonl", messages(USER, USER, ASSISTANT), ["turn 2", "assistant is", "join turns"]),
    "assistant first": ("rows.jsonl", messages(ASSISTANT), ["turn 1", "user is expected"]),
    "late system turn": (
        "rows.jsonl",
        messages(USER, ASSISTANT, {"role": "system", "content": "s"}, ASSISTANT),
        ["turn 3", "by system", "first"],
    ),
    "empty response": (
        "rows.jsonl",
        '{"question": "q", "answer": " "}',
        ["no row is left", "1 with an empty response"],
    ),
    "empty prompt": ("rows.jsonl", '{"question": null, "answer": "a"}', ["no row is left", "1 with an empty prompt"]),
    "prompt no text": (
        "rows.jsonl",
        '{"prompt": 5, "completion": "a"}',
        ["line 1", "prompt is of type int", "in quotes"],
    ),
    "answer no text": ("rows.jsonl", '{"question": "q", "answer": {"a": 1}}', ["line 1", "answer is of type dict"]),
    "prompt ends with assistant": (
        "rows.jsonl",
        json.dumps({"prompt": [USER, ASSISTANT], "completion": "a"}),
        ["line 1", "last turn of prompt", "end it with a user turn"],
    ),
    "transcript without response": ("rows.jsonl", json.dumps({"chosen": "\n\nHuman: q"}), ["line 1", "by user"]),
    "no transcript": ("rows.jsonl", '{"chosen": "Sure."}', ["line 1", "not a transcript", "'Sure.'", "column prompt"]),
    "foreign conversation": (
        "rows.jsonl",
        json.dumps({"prompt": "other", "chosen": [USER, ASSISTANT]}),
        ["line 1", "prompt is not part of it", "remove the column"],
    ),
    "NUL": ("rows.jsonl", json.dumps({"question": "q\0", "answer": "a"}), ["line 1", "NUL", "export it again"]),
    "half a surrogate": ("rows.jsonl", '{"question": "q", "answer": "\\ud800"}', ["line 1", "surrogate", "UTF-8"]),
    "half a surrogate in the id": (
        "rows.jsonl",
        '{"id": "\\udc00", "question": "q", "answer": "a"}',
        ["line 1", "the id", "surrogate", "UTF-8"],
    ),
    "id no text": (
        "rows.jsonl",
        '{"id": [1], "question": "q", "answer": "a"}',
        ["line 1", "id [1]", "drop the column"],
    ),
    "id a fraction": (
        "rows.jsonl",
        '{"id": 1.5, "question": "q", "answer": "a"}',
        ["line 1", "id 1.5", "whole number"],
    ),
    "kind no text": ("rows.jsonl", '{"kind": {}, "question": "q", "answer": "a"}', ["line 1", "kind is of type dict"]),
}


@pytest.mark.parametrize(("name", "content", "parts"), FILES.values(), ids=FILES.keys())
def test_files(tmp_path, name, content, parts):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as raised:
        load_rows(path)
    assert_parts(raised.value, [str(path), *parts])


# behind the path of a file with three rows
BEHIND = {
    "bad slice": ("[a:b]", ["[a:b] is not a slice", "[start:stop]"]),
    "slice with step": ("[::2]", ["[::2] is not a slice"]),
    "one index": ("[1]", ["[1] is not a slice"]),
    "slice beyond the end": ("[0:4]", ["[0:4]", "4 is beyond the end", "3 rows", "lower it"]),
    "slice beyond the start": ("[-4:]", ["-4 is beyond the end", "3 rows"]),
    "empty slice": ("[2:2]", ["hold no row", "before the stop"]),
    "nothing before the start": ("[:0]", ["hold no row", "before the stop"]),
    "empty slice at the end": ("[-1:-2]", ["hold no row", "before the stop"]),
    "slice after the end": ("[3:]", ["hold no row", "before the stop"]),
    "unknown column": ("#answer", ["#answer is not known", "#chosen or #rejected"]),
    "nothing rejected": (
        "#rejected",
        ["line 1", "needs a column rejected", "'question', 'answer'", "take #rejected off"],
    ),
}


@pytest.mark.parametrize(("behind", "parts"), BEHIND.values(), ids=BEHIND.keys())
def test_what_is_behind_a_path(tmp_path, behind, parts):
    path = tmp_path / "rows.jsonl"
    path.write_text(GOOD * 3)
    with pytest.raises(DataError) as raised:
        load_rows(f"{path}{behind}")
    assert_parts(raised.value, [str(path), *parts])


def test_missing_file_names_the_nearest(tmp_path):
    for name in ("train.jsonl", "other.csv"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(DataError) as raised:
        load_rows(tmp_path / "trin.jsonl")
    assert_parts(raised.value, ["trin.jsonl", "file not found", "nearest there: train.jsonl", "correct the name"])


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match=r"rows.jsonl: file not found, there is no folder .*nowhere: check the path"):
        load_rows(tmp_path / "nowhere" / "rows.jsonl")


def test_a_word_that_is_no_path_and_no_hub_name():
    with pytest.raises(DataError, match="gsm9k: file not found"):
        load_rows("gsm9k")


@pytest.mark.parametrize("nothing", [[], "", "[:3]"])
def test_no_source(nothing):
    with pytest.raises(DataError, match="name a file|names no file"):
        load_rows(nothing)


def test_empty_folder(tmp_path):
    (tmp_path / "README.md").write_text("about")
    with pytest.raises(DataError) as raised:
        load_rows(tmp_path)
    assert_parts(raised.value, [str(tmp_path), "no data files", "put .jsonl"])


@pytest.mark.parametrize("name", ["rows.xlsx", "notes.txt", "inner"])
def test_a_folder_with_something_unknown(tmp_path, name):
    (tmp_path / "rows.jsonl").write_text(GOOD)
    (tmp_path / name).mkdir() if name == "inner" else (tmp_path / name).write_text("x")
    with pytest.raises(DataError) as raised:
        load_rows(tmp_path)
    assert_parts(raised.value, [str(tmp_path), name, "move it elsewhere"])


def test_a_split_of_a_file(tmp_path):
    (tmp_path / "rows.jsonl").write_text(GOOD)
    with pytest.raises(DataError) as raised:
        load_rows(tmp_path / "rows.jsonl", split="test")
    assert_parts(raised.value, ["split 'test'", "rows.jsonl", "append [start:stop]"])


def test_a_row_given_directly_is_named_by_number_and_id():
    rows = Dataset.from_list(
        [{"id": "a", "question": "q", "answer": "a"}, {"id": "b", "question": " ", "answer": "a"}]
    )
    with pytest.raises(DataError, match=r"task row 1 \(id 'b'\): empty prompt: remove the row"):
        as_conversations(rows, name="task")


def conversations(*responses):
    return Dataset.from_list(
        [
            {"id": f"r{n}", "prompt": [USER], "completion": [ASSISTANT | {"content": r}]}
            for n, r in enumerate(responses)
        ]
    )


def without(name):
    tokenizer = blank_ending_tokenizer()
    setattr(tokenizer, name, None)
    return tokenizer


def with_template(template):
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


class SlowTokenizer:
    """What the trainer sees of a tokenizer without offsets."""

    is_fast, name_or_path, chat_template, eos_token = False, "slow-one", "{{ messages }}", "</s>"


# rows, tokenizer, settings, kind of error, parts of the message
TOKENS = {
    "all rows too long": (
        conversations("a"),
        chatml_tokenizer(),
        {"max_length": 3},
        DataError,
        ["task", "none of 1 rows", "max_length 3", "Raise max_length to at least"],
    ),
    "all responses empty": (
        conversations(" ", ""),
        chatml_tokenizer(),
        {},
        DataError,
        ["task", "all 2 rows have an empty response", "check which column"],
    ),
    "no rows": (conversations("a").select([]), chatml_tokenizer(), {}, DataError, ["task", "no rows"]),
    "no columns": (
        Dataset.from_list([{"prompt": "q", "text": "a"}]),
        chatml_tokenizer(),
        {},
        DataError,
        ["task", "no column completion", "prompt, text", "load_rows"],
    ),
    "no template": (
        conversations("a"),
        without("chat_template"),
        {},
        ModelError,
        ["no chat template", "prompt_format: human_assistant"],
    ),
    "no end token": (
        conversations("a"),
        without("eos_token"),
        {"prompt_format": "human_assistant"},
        ModelError,
        ["no end token", "set tokenizer.eos_token"],
    ),
    "legacy with chat": (
        conversations("a"),
        chatml_tokenizer(),
        {"mask_mode": "legacy"},
        ConfigError,
        ["mask_mode: legacy", "prompt_format is chat", "set prompt_format: human_assistant"],
    ),
    "slow tokenizer": (
        conversations("a"),
        SlowTokenizer(),
        {},
        ModelError,
        ["slow-one", "no character offsets", "fast tokenizer"],
    ),
    "template that refuses the row": (
        Dataset.from_list([{"id": "r0", "prompt": [USER, USER], "completion": [ASSISTANT]}]),
        gemma_tokenizer(),
        {},
        DataError,
        ["task row 0 (id 'r0')", "roles must alternate", "change the row's turns"],
    ),
    "template that writes the prompt otherwise": (
        conversations("a"),
        with_template("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"),
        {},
        DataError,
        ["task row 0 (id 'r0')", "'1q'", "use a template"],
    ),
    "broken template": (
        conversations("a"),
        with_template("{% for m in messages %}"),
        {},
        DataError,
        ["task row 0 (id 'r0')", "refuses the row", "human_assistant"],
    ),
}


@pytest.mark.parametrize(("rows", "tokenizer", "options", "kind", "parts"), TOKENS.values(), ids=TOKENS.keys())
def test_tokens(rows, tokenizer, options, kind, parts):
    with pytest.raises(kind) as raised:
        tokenize(rows, tokenizer, **({"max_length": None} | options))
    assert_parts(raised.value, parts)


def assert_parts(error, parts):
    missing = [part for part in parts if part not in str(error)]
    assert not missing, str(error)
