"""Turns keep every key for the chat template, from files as from memory."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from tokenizers_for_tests import chatml_tokenizer

from dualselect.auditing.rows import TaskRows
from dualselect.data import as_conversations, load_rows
from dualselect.errors import DataError


CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Rome", "days": 2, "unit": None}}}
OTHER_CALL = {"type": "function", "function": {"name": "add", "arguments": {"values": [1, "2"]}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
TOOL_ROWS = [
    {
        "tools": TOOLS,
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "name": "weather", "content": "Sunny."},
            {"role": "assistant", "content": "It is sunny.", "reasoning_content": "42"},
        ],
    },
    {
        "messages": [
            {"role": "user", "content": "Add"},
            {"role": "assistant", "content": None, "tool_calls": [OTHER_CALL]},
        ]
    },
]
# A template that prints what it is given, and the word None where it is given one.
TEMPLATE = (
    "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}{{ mood }}"
    "{% for message in messages %}<{{ message.role }}>"
    "{% if message.reasoning_content is defined %}({{ message.reasoning_content }}){% endif %}"
    "{% if message.content is not none %}{{ message.content }}{% endif %}"
    "{% if message.tool_calls is defined %}{% for call in message.tool_calls %}"
    "{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %}{% endif %}"
    "{% endfor %}"
)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def turns(*contents, **keys):
    roles = ("user", "assistant")
    found = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    found[-1].update(keys)
    return found


def one(tmp_path, **row):
    return load_rows(write(tmp_path / "rows.jsonl", [row]))


def rendered(row):
    tokenizer = chatml_tokenizer()
    messages = [
        {key: value for key, value in turn.items() if value is not None or key == "content"}
        for turn in [*row["prompt"], *row["completion"]]
    ]
    tools = json.loads(row["tools"]) if row.get("tools") else None
    options = row.get("chat_template_kwargs") or {}
    return tokenizer.apply_chat_template(messages, tools=tools, chat_template=TEMPLATE, tokenize=False, **options)


WRITTEN = [
    '[weather]<user>Weather?<assistant>weather{"city": "Rome", "days": 2, "unit": null}<tool>Sunny.'
    "<assistant>(42)It is sunny.",
    '<user>Add<assistant>add{"values": [1, "2"]}',
]


def test_tool_calls_tools_and_thoughts_reach_the_template_from_files(tmp_path):
    found = load_rows(write(tmp_path / "rows.jsonl", TOOL_ROWS))
    assert [rendered(row) for row in found.dataset] == WRITTEN
    assert found.dataset[1]["completion"][0]["content"] is None
    assert found.report.turn_keys == {"tool_calls": 2, "name": 1, "reasoning_content": 1}
    assert found.report.dropped == {}
    assert "reasoning_content (1)" in found.report.describe()
    assert "tools: 1 rows" in found.report.describe()


def test_and_from_memory_and_again_from_what_was_loaded(tmp_path):
    loaded = load_rows(write(tmp_path / "rows.jsonl", TOOL_ROWS)).dataset
    again = as_conversations(loaded, name="task")
    assert again[:] == loaded[:]
    # struct columns give each row the keys of all rows
    memory = Dataset.from_list([TOOL_ROWS[0], TOOL_ROWS[0] | {"tools": None}])
    texts = [rendered(row) for row in as_conversations(memory, name="task")]
    assert texts[0] == WRITTEN[0].replace(', "unit": null', "")
    assert texts[1] == texts[0].removeprefix("[weather]")


def test_and_from_parquet_and_from_json_text(tmp_path):
    pq.write_table(pa.Table.from_pylist(TOOL_ROWS[:1]), tmp_path / "a.parquet")
    text = [{key: json.dumps(value) for key, value in row.items()} for row in TOOL_ROWS]
    write(tmp_path / "b.jsonl", text)
    found = load_rows([tmp_path / "a.parquet", tmp_path / "b.jsonl"]).dataset
    assert [rendered(row) for row in found] == [WRITTEN[0].replace(', "unit": null', ""), *WRITTEN]


def test_the_audit_keeps_what_training_keeps(tmp_path):
    path = write(tmp_path / "rows.jsonl", TOOL_ROWS)
    loaded = load_rows(path).dataset
    for row, task in zip(loaded, TaskRows([str(path)]), strict=True):
        assert rendered(task.conversation) == rendered(row)
        assert (task.id, task.lacks) == (row["id"], "")


def test_two_tool_calls_are_two_responses(tmp_path):
    rows = [{"messages": [turns("q")[0], {"role": "assistant", "tool_calls": [call]}]} for call in (CALL, OTHER_CALL)]
    found = load_rows(write(tmp_path / "rows.jsonl", rows))
    assert found.report.duplicates == 0
    assert len(set(found.dataset["id"])) == 2


def test_a_key_of_different_types_stays_what_it_is(tmp_path):
    rows = [{"messages": turns("q", "a", note=note)} for note in ("12", 12, [1], {"a": "[]"}, "[3]", True, "x")]
    found = load_rows(write(tmp_path / "rows.jsonl", rows)).dataset
    assert [row["completion"][0]["note"] for row in found] == ["12", 12, [1], {"a": "[]"}, "[3]", True, "x"]


def test_share_gpt_roles_and_calls(tmp_path):
    row = {
        "system": "Be kind.",
        "tools": json.dumps(TOOLS),
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": {"city": "Rome"}})},
            {"from": "observation", "value": "Sunny."},
            {"from": "gpt", "value": "It is sunny."},
        ],
    }
    (found,) = one(tmp_path, **row).dataset
    assert [turn["role"] for turn in found["prompt"]] == ["system", "user", "assistant", "tool"]
    said = '<user>Weather?<assistant>weather{"city": "Rome"}<tool>Sunny.<assistant>It is sunny.'
    assert rendered(found) == f"[weather]<system>Be kind.{said}"


def test_openai_functions_of_the_older_form(tmp_path):
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "function_call": {"name": "weather", "arguments": "{}"}},
        {"role": "function", "name": "weather", "content": {"sky": "blue"}},
        {"role": "assistant", "content": "Blue."},
    ]
    (found,) = one(tmp_path, messages=messages, functions=[TOOLS[0]["function"]]).dataset
    assert rendered(found).startswith("[weather]<developer>Be kind.<user>Weather?<assistant>weather")
    assert '<function>{"sky": "blue"}' in rendered(found)


def test_parts_of_text_are_joined_and_others_are_refused_by_name(tmp_path):
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
    found = one(tmp_path, messages=[{"role": "user", "content": parts}, *turns("q", "a")[1:]]).dataset
    assert found[0]["prompt"] == turns("What is this?")
    # Arrow gives each part the keys of all
    wide = [{**part, "image_url": None} for part in parts]
    memory = Dataset.from_list([{"messages": [{"role": "user", "content": wide}, turns("q", [parts[0]])[1]]}])
    assert as_conversations(memory, name="task")[0]["prompt"] == turns("What is this?")
    image = {"type": "image_url", "image_url": {"url": "x"}}
    with pytest.raises(DataError, match="turn 1 of messages has a content part of type 'image_url': only text"):
        one(tmp_path, messages=[{"role": "user", "content": [*parts, image]}, *turns("q", "a")[1:]])


@pytest.mark.parametrize("off", [{"train": False}, {"weight": 0}, {"weight": 0.0}, {"loss": "false"}])
@pytest.mark.parametrize("on", [{}, {"train": True}, {"weight": 1}, {"loss": True}])
def test_flags_of_turns_become_one_key(tmp_path, off, on):
    messages = turns("q", "a") + turns("r", "b")
    messages[1] |= off
    messages[3] |= on
    messages[0] |= {"weight": 0}
    (found,) = one(tmp_path, messages=messages).dataset
    assert found["prompt"][1]["train"] is False
    assert found["completion"][0].get("train") in ((True,) if on else (None,))
    assert found["prompt"][0].get("train") is None
    assert "weight" not in found["prompt"][1]


def test_other_weights_stay_and_other_flags_are_refused(tmp_path):
    (found,) = one(tmp_path, messages=turns("q", "a", weight=0.5)).dataset
    assert found["completion"][0]["weight"] == 0.5
    with pytest.raises(DataError, match="has train: 'maybe', which says neither"):
        one(tmp_path, messages=turns("q", "a", train="maybe"))


def test_turns_behind_the_last_response_are_cut_and_counted(tmp_path):
    found = one(tmp_path, messages=turns("q", "a", "thanks"))
    assert found.dataset[0]["completion"][0]["content"] == "a"
    assert found.report.cut_turns == 1
    assert "left out: 1 turns after the last response" in found.report.describe()


@pytest.mark.parametrize(
    ("turn", "message"),
    [
        ({"role": "assistant", "tool_calls": "call it"}, "tool_calls that are not a list of objects"),
        ({"role": "assistant", "content": "a", "note": "\ud800"}, "its note contains an unpaired surrogate"),
        ({"role": "tool", "content": "t"}, "turn 2 of messages is by tool, where assistant is expected"),
    ],
)
def test_turns_that_no_template_takes_are_refused(tmp_path, turn, message):
    with pytest.raises(DataError, match=message):
        one(tmp_path, messages=[turns("q")[0], turn])


def test_options_and_documents_reach_the_template(tmp_path):
    rows = [
        {"question": "q", "answer": "a", "chat_template_kwargs": {"mood": "good"}, "documents": [{"text": "d"}]},
        {"question": "r", "answer": "b"},
    ]
    found = load_rows(write(tmp_path / "rows.jsonl", rows)).dataset
    assert rendered(found[0]).startswith("good<user>")
    assert found[0]["chat_template_kwargs"] == {"mood": "good", "documents": [{"text": "d"}]}
    assert not found[1]["chat_template_kwargs"]
    with pytest.raises(DataError, match="tools is of type str, and the chat template takes a list of objects"):
        one(tmp_path, question="q", answer="a", tools="a hammer")
