"""What of a turn reaches the chat template, where the supervised text begins and ends, and which date it prints."""

import copy
import json
import pickle
from pathlib import Path

import pytest
from datasets import Dataset
from tokenizers import AddedToken
from tokenizers_for_tests import chatml_tokenizer
from transformers import AutoTokenizer

from dualselect.data import as_conversations, tokenize
from dualselect.data.rendering import ChatText, HumanAssistantText, fixed_date, uses_date
from dualselect.errors import ConfigError, DataError


# As Qwen3 does: the last turn opens with its reasoning, empty or not; earlier turns lose theirs.
THINKING = (
    "{% if tools %}TOOLS {{ tools | tojson }}\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' and loop.last %}<think>\n{{ message.reasoning_content or '' }}\n</think>\n\n"
    "{% endif %}{{ message.content or '' }}{% for call in message.tool_calls or [] %}"
    "<call>{{ call.function.name }} {{ call.function.arguments.city }}</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# As the distilled R1 models do: generation begins with <think>, and a conversation has no thoughts.
OPENING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content.split('</think>')[-1] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
DATED = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %-d. %m.') }}{% endif %}\n"


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


def row(*turns, **columns):
    return {"prompt": list(turns[:-1]), "completion": [turns[-1]], **columns}


def with_template(template):
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def supervised(rendered):
    return [rendered.text[start:end] for start, end in rendered.spans]


def call(arguments):
    return [{"type": "function", "function": {"name": "weather", "arguments": arguments}}]


def test_reasoning_is_rendered_and_supervised():
    turns = user("What is 7 times 8?"), assistant("56", reasoning_content="Seven eights are fifty-six.")
    rendered = ChatText(with_template(THINKING))(row(*turns), "row 0")
    assert supervised(rendered) == ["<think>\nSeven eights are fifty-six.\n</think>\n\n56<|im_end|>\n"]
    assert rendered.unused == {}


def test_keys_that_a_template_does_not_use_are_counted():
    turns = user("What?"), assistant("56", reasoning_content="Why.", mood="calm", name=None)
    rendered = ChatText(chatml_tokenizer())(row(*turns), "row 0")
    assert rendered.unused == {"reasoning_content": 1, "mood": 1}
    report = tokenize(Dataset.from_list([row(*turns)] * 3), chatml_tokenizer(), max_length=None).report
    assert "not used by the text of the rows: mood (3), reasoning_content (3)" in report.describe()


def test_reasoning_of_an_earlier_turn_that_the_template_leaves_out_is_counted():
    turns = user("a"), assistant("b", reasoning_content="one"), user("c"), assistant("d", reasoning_content="two")
    rendered = ChatText(with_template(THINKING), "all")(row(*turns), "row 0")
    assert supervised(rendered) == ["b<|im_end|>\n", "<think>\ntwo\n</think>\n\nd<|im_end|>\n"]
    assert rendered.unused == {"reasoning_content": 1}


def test_thoughts_in_the_content_that_the_template_takes_out_are_counted():
    rendered = ChatText(with_template(OPENING))(row(user("a"), assistant("<think>why</think>b")), "row 0")
    assert supervised(rendered) == ["b<|im_end|>\n"]
    assert rendered.unused == {"content": 1}


@pytest.mark.parametrize("scope", ["last", "all"])
@pytest.mark.parametrize("response", ["56", "<b>56</b>", "<think", " 56"])
def test_a_template_that_opens_generation_otherwise_is_supervised_from_where_the_two_part(scope, response):
    rendered = ChatText(with_template(OPENING), scope)(row(user("What?"), assistant(response)), "row 0")
    assert supervised(rendered) == [f"{response}<|im_end|>\n"]
    assert rendered.cut == "<think>\n"


def test_the_cut_generation_prompt_is_reported_once():
    rows = Dataset.from_list([row(user("What?"), assistant("56"))] * 3)
    report = tokenize(rows, with_template(OPENING), max_length=None).report
    assert report.cut == {"<think>\n": 3}
    assert report.describe().count("--chat_template_path") == 1


def test_a_template_that_rewrites_the_turns_before_is_refused_with_the_way_out():
    template = "{% if not add_generation_prompt %}whole {% endif %}" + OPENING
    with pytest.raises(DataError, match=r"row 7: .*differently.*--chat_template_path FILE\.jinja"):
        ChatText(with_template(template))(row(user("a"), assistant("b")), "row 7")


@pytest.mark.parametrize("arguments", ['{"city": "Rome"}', {"city": "Rome", "street": None}])
def test_tool_calls_and_tools_are_rendered_and_the_call_is_supervised(arguments):
    tools = [{"type": "function", "function": {"name": "weather", "parameters": None}}]
    conversation = row(user("Weather?"), assistant(None, tool_calls=call(arguments)), tools=json.dumps(tools))
    rendered = ChatText(with_template(THINKING))(conversation, "row 0")
    assert supervised(rendered) == ["<think>\n\n</think>\n\n<call>weather Rome</call><|im_end|>\n"]
    assert rendered.text.startswith('TOOLS [{"type": "function"')
    (tokens,) = tokenize(Dataset.from_list([conversation]), with_template(THINKING), max_length=None).dataset
    assert any(label != -100 for label in tokens["labels"])


def test_keys_that_arrow_adds_do_not_reach_the_template():
    rows = Dataset.from_list(
        [
            row(user("a"), assistant(None, tool_calls=[{"function": {"name": "f", "arguments": {"x": 1}}}])),
            row(user("b"), assistant(None, tool_calls=[{"function": {"name": "f", "arguments": {"y": 2}}}])),
        ]
    )
    template = "{% for message in messages %}{{ message | tojson }}\n{% endfor %}"
    rendered = ChatText(with_template(template + "{% if add_generation_prompt %}{{ '{' }}{% endif %}"))(
        as_conversations(rows, name="rows")[1], "row 1"
    )
    assert "null" not in rendered.text
    assert '"arguments": {"y": 2}' in rendered.text


def test_a_null_that_a_file_gives_as_an_argument_stays():
    conversation = row(user("a"), assistant(None, tool_calls=call({"x": None, "y": 2})))
    template = "{% for message in messages %}{{ message | tojson }}\n{% endfor %}"
    rendered = ChatText(with_template(template + "{% if add_generation_prompt %}{{ '{' }}{% endif %}"))(
        conversation, "row 0"
    )
    assert '"arguments": {"x": null, "y": 2}' in rendered.text


def test_templates_that_want_arguments_as_text_get_them_as_text():
    template = THINKING.replace("call.function.arguments.city", "'$' + call.function.arguments")
    rendered = ChatText(with_template(template))(
        row(user("a"), assistant("", tool_calls=call({"city": "Rome"}))), "row 0"
    )
    assert '<call>weather ${"city": "Rome"}</call>' in supervised(rendered)[0]


def test_a_call_that_the_template_has_no_place_for_is_not_taught_as_an_empty_response():
    rows = [row(user("a"), assistant(None, tool_calls=call("{}"))), row(user("b"), assistant("c"))]
    template = THINKING.replace("message.tool_calls or []", "[]")
    found = tokenize(Dataset.from_list(rows), with_template(template), max_length=None)
    assert found.dataset["row_index"][:] == [1]
    assert "dropped 1 rows with a response that the chat template leaves out" in found.report.describe()
    assert found.report.unused["tool_calls"] == 1


def test_a_template_that_leaves_out_plain_text_teaches_nothing():
    template = (
        "{% for message in messages %}{{ message.role }}: {% if message.content is not string %}x{% endif %}</s>"
        "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(DataError, match="a response that the chat template leaves out"):
        tokenize(Dataset.from_list([row(user("a"), assistant("b"))]), with_template(template), max_length=None)


# Earlier turns


FAMILIES = {
    "as Qwen3": (THINKING, ["one<|im_end|>\n", "<think>\n\n</think>\n\ntwo<|im_end|>\n"]),
    "as R1": (OPENING, ["one<|im_end|>\n", "two<|im_end|>\n"]),
    "another end of the last turn": (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "{{ '<|endoftext|>' if loop.last and message.role == 'assistant' else '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ["one<|im_end|>", "two<|endoftext|>"],
    ),
    "something behind the last turn": (
        "{% for message in messages %}{{ message.role }}: {{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% else %}<|endoftext|>{% endif %}",
        ["one<|im_end|>", "two<|im_end|>\n<|endoftext|>"],
    ),
}


@pytest.mark.parametrize(("template", "expected"), FAMILIES.values(), ids=FAMILIES.keys())
def test_all_assistant_turns_with_their_ends_and_without_headers(template, expected):
    conversation = row({"role": "system", "content": "s"}, user("a"), assistant("one"), user("b"), assistant("two"))
    assert supervised(ChatText(with_template(template), "all")(conversation, "row 0")) == expected
    assert supervised(ChatText(with_template(template), "last")(conversation, "row 0")) == expected[-1:]


def test_all_turns_around_a_tool():
    turns = user("a"), assistant(None, tool_calls=call('{"city": "Rome"}')), {"role": "tool", "content": "Sunny"}
    rendered = ChatText(with_template(THINKING), "all")(row(*turns, assistant("It is.")), "row 0")
    first, last = supervised(rendered)
    assert first == "<call>weather Rome</call><|im_end|>\n"
    assert last == "<think>\n\n</think>\n\nIt is.<|im_end|>\n"


def test_every_turn_of_human_assistant_text_has_an_end():
    tokenizer = chatml_tokenizer()
    rendered = HumanAssistantText(tokenizer, "all")(row(user("a"), assistant("b"), user("c"), assistant("d")), "row 0")
    assert rendered.text == "Human: a\nAssistant: b <|im_end|>\nHuman: c\nAssistant: d <|im_end|>"
    assert supervised(rendered) == ["b <|im_end|>", "d <|im_end|>"]


TEMPLATES = Path(pytest.importorskip("trl").__file__).parent / "chat_templates"


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5_think", "deepseek_r1_distill", "gptoss", "phi3", "llama3_1", "gemma3"]
)
def test_templates_of_known_models(name):
    tokenizer = with_template((TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8"))
    ends = ["<|im_end|>", "<|end|>", "<|return|>", "<|eot_id|>", "<end_of_turn>", "<｜end▁of▁sentence｜>"]
    tokenizer.add_tokens([AddedToken(end, special=True) for end in ends])
    turns = user("one?"), assistant("ONE"), user("two?"), assistant("TWO")
    for said, text in zip(("ONE", "TWO"), supervised(ChatText(tokenizer, "all")(row(*turns), "row 0")), strict=True):
        behind = text.partition(said)[2]
        assert any(behind.startswith(end) for end in ends)
        assert "user" not in text
        assert "two?" not in text


# Dates


def test_a_template_that_prints_the_date_is_recognized():
    assert uses_date(with_template(DATED + OPENING))
    assert not uses_date(with_template("{{ 'strftime_now' }}" + OPENING))
    assert not uses_date(chatml_tokenizer())


def test_a_fixed_date_is_printed_and_not_saved(tmp_path):
    tokenizer = with_template(DATED + OPENING)
    conversation = row(user("a"), assistant("b"))
    fixed_date(tokenizer, "2024-03-05")
    for each in (tokenizer, copy.deepcopy(tokenizer), pickle.loads(pickle.dumps(tokenizer))):
        assert ChatText(each)(conversation, "row 0").text.startswith("05 Mar 2024, 5. 03.<|im_start|>")
        assert each.apply_chat_template([user("a")], tokenize=False).startswith("05 Mar 2024")
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer.chat_template == DATED + OPENING
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == DATED + OPENING
    assert all("2024" not in file.read_text(encoding="utf-8") for file in tmp_path.glob("*.j*"))
    fixed_date(tokenizer, "2025-12-31")
    assert ChatText(tokenizer)(conversation, "row 0").text.startswith("31 Dec 2025")


def test_a_fixed_date_reaches_macros():
    tokenizer = with_template((TEMPLATES / "gptoss.jinja").read_text(encoding="utf-8"))
    fixed_date(tokenizer, "2024-03-05")
    assert "Current date: 2024-03-05" in ChatText(tokenizer)(row(user("a"), assistant("b")), "row 0").text


def test_what_is_no_date_is_refused():
    with pytest.raises(ConfigError, match="write it as YYYY-MM-DD"):
        fixed_date(chatml_tokenizer(), "today")
