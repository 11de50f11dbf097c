"""Which tokens are supervised: the response and its end of turn, whatever the tokenizer merges."""

import json

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors
from tokenizers_for_tests import blank_ending_tokenizer, chatml_tokenizer, gemma_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dualselect.data import load_rows, tokenize


CHATML, GEMMA, BLANK = chatml_tokenizer(), gemma_tokenizer(), blank_ending_tokenizer()
ENDS = {"chatml": (CHATML, "<|im_end|>\n"), "gemma": (GEMMA, "<end_of_turn>\n"), "blank": (BLANK, "</s>\n")}
BYTE_LEVEL = processors.ByteLevel(trim_offsets=True)
PREFIX = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])


def user(content):
    return [{"role": "user", "content": content}]


def assistant(content):
    return [{"role": "assistant", "content": content}]


def dataset(*pairs):
    return Dataset.from_list([{"prompt": user(p), "completion": assistant(c)} for p, c in pairs])


def tokens(rows, tokenizer, **options):
    return tokenize(rows, tokenizer, **({"max_length": None} | options)).dataset


def supervised_ids(row):
    pairs = list(zip(row["input_ids"], row["labels"], strict=True))
    assert all(label in (token, -100) for token, label in pairs)
    return [token for token, label in pairs if label != -100]


def supervised(tokenizer, row):
    return tokenizer.decode(supervised_ids(row))


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize(
    "response",
    ["Sure, here is how.", "I cannot help with that.", "42", "Ünï 你好 😀", "你好", "😀", "-", "'s", "a  b\n\nc"],
)
@pytest.mark.parametrize("prompt", ["What is the answer?", "ends with blanks  ", "ends with a line\n", "你好", "7"])
def test_exactly_the_response_and_the_end_of_turn_are_supervised(family, prompt, response):
    tokenizer, end = ENDS[family]
    (row,) = tokens(dataset((prompt, response)), tokenizer)
    found = supervised(tokenizer, row)
    # the template's last blank belongs to the first response token where the two are one token
    assert found in (response + end, " " + response + end)
    assert found.startswith(" ") == (family == "blank" and tokenizer.tokenize(" " + response)[0] != "Ġ")


@pytest.mark.parametrize("family", ENDS)
def test_the_tokens_are_those_of_the_whole_text(family):
    tokenizer, _ = ENDS[family]
    (row,) = tokens(dataset(("What is it?", "Sure, it is.")), tokenizer)
    text = tokenizer.apply_chat_template([*user("What is it?"), *assistant("Sure, it is.")], tokenize=False)
    assert row["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_token_of_the_last_blank_and_the_first_word_is_supervised():
    (row,) = tokens(dataset(("What?", "Sure, it is.")), BLANK)
    assert BLANK.convert_ids_to_tokens(supervised_ids(row)[0]) == "ĠSure"


@pytest.mark.parametrize(("response", "first"), [("\nSure", "Ċ"), (" Sure", "ĠSure"), ("Sure", "Sure"), ("I am", "I")])
def test_the_first_response_token_is_supervised(response, first):
    (row,) = tokens(dataset(("What?", response)), CHATML)
    assert CHATML.convert_ids_to_tokens(supervised_ids(row)[0]) == first


@pytest.mark.parametrize("processor", [BYTE_LEVEL, processors.Sequence([BYTE_LEVEL, PREFIX])], ids=["one", "several"])
def test_a_token_over_the_line_break_of_the_template_and_a_leading_blank_is_supervised(processor):
    """Byte-level offsets are trimmed by default, so this token seems to end where the response begins."""
    state = json.loads(CHATML.backend_tokenizer.to_str())
    state["model"]["vocab"]["ĊĠ"] = len(CHATML)  # as SmolLM2 has it
    state["model"]["merges"].append(["Ċ", "Ġ"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), chat_template=CHATML.chat_template
    )
    tokenizer.backend_tokenizer.post_processor = processor
    (row,) = tokens(dataset(("What?", "  Sure")), tokenizer)
    assert supervised(tokenizer, row) == "\n  Sure<|im_end|>\n"


def test_offsets_of_the_given_tokenizer_stay_as_they_were():
    tokenizer = chatml_tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    tokens(dataset(("What?", "Sure")), tokenizer)
    assert tokenizer.backend_tokenizer.to_str() == before


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)


@given(prompt=texts, response=texts.filter(str.strip))
@settings(deadline=None, max_examples=60)
def test_any_response_is_decoded_from_its_supervised_tokens(prompt, response):
    (row,) = tokens(dataset((prompt, response)), CHATML)
    assert supervised(CHATML, row) == response + "<|im_end|>\n"
    assert row["labels"].index(supervised_ids(row)[0]) > 0


@pytest.mark.parametrize("family", ENDS)
def test_earlier_turns_are_not_supervised(family):
    tokenizer, end = ENDS[family]
    prompt = [*user("Sure?"), *assistant("I am."), *user("What?")]
    rows = Dataset.from_list([{"prompt": prompt, "completion": assistant("It is here.")}])
    (row,) = tokens(rows, tokenizer)
    assert supervised(tokenizer, row).strip() == "It is here." + end.strip()


def test_a_template_that_strips_the_blank_of_its_prompt_keeps_the_boundary():
    tokenizer = blank_ending_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "Assistant: {% generation %}", "Assistant:{% generation %}"
    )
    (row,) = tokens(dataset(("What?", "\nSure")), tokenizer)
    assert supervised(tokenizer, row) == "\nSure</s>\n"


def test_template_arguments_of_a_row_reach_the_template():
    tokenizer = chatml_tokenizer()
    tokenizer.chat_template = (
        "{% if tools %}{{ tools[0].function.name }} {% endif %}{{ mood }}\n" + tokenizer.chat_template
    )
    tool = '[{"type": "function", "function": {"name": "clock", "parameters": {}}}]'
    rows = dataset(("What?", "Sure")).add_column("tools", [tool])
    rows = rows.add_column("chat_template_kwargs", [{"mood": "calm"}])
    (row,) = tokens(rows, tokenizer)
    assert tokenizer.decode(row["input_ids"]).startswith("clock calm")


def test_human_assistant_text_is_as_published():
    (row,) = tokens(dataset(("What is it?", "Sure.")), BLANK, prompt_format="human_assistant")
    assert BLANK.decode(row["input_ids"]) == "Human: What is it?\nAssistant: Sure. </s>"
    assert supervised(BLANK, row) == " Sure. </s>"


def test_human_assistant_text_of_several_turns():
    prompt = [{"role": "system", "content": "Be kind."}, *user("a"), *assistant("b"), *user("c")]
    rows = Dataset.from_list([{"prompt": prompt, "completion": assistant("d")}])
    (row,) = tokens(rows, BLANK, prompt_format="human_assistant")
    assert BLANK.decode(row["input_ids"]) == "System: Be kind.\nHuman: a\nAssistant: b\nHuman: c\nAssistant: d </s>"


def test_human_assistant_is_a_plain_call_of_the_tokenizer():
    (row,) = tokens(dataset(("What?", "Sure")), GEMMA, prompt_format="human_assistant")
    assert row["input_ids"] == GEMMA("Human: What?\nAssistant: Sure <eos>")["input_ids"]
    assert row["input_ids"][0] == GEMMA.bos_token_id


def test_plain_texts_get_no_template():
    rows = Dataset.from_list([{"prompt": "What is it? ", "completion": "Sure"}])
    (row,) = tokens(rows, CHATML)
    assert CHATML.decode(row["input_ids"]) == "What is it? Sure<|im_end|>"
    assert supervised(CHATML, row) == " Sure<|im_end|>"


def test_plain_texts_are_not_ended_twice():
    rows = Dataset.from_list([{"prompt": "What?", "completion": " Sure<|im_end|>"}])
    assert CHATML.decode(tokens(rows, CHATML)[0]["input_ids"]) == "What? Sure<|im_end|>"


def test_the_first_token_of_a_row_has_no_label():
    """Nothing predicts it: a row whose only label is there would have an empty loss."""
    (row,) = tokens(Dataset.from_list([{"prompt": "", "completion": "Sure"}]), CHATML)
    assert row["labels"][0] == -100
    assert supervised(CHATML, row) == "<|im_end|>"


def test_legacy_loses_the_first_response_token():
    rows = dataset(("What?", "Sure, it is."), ("Can you?", "I cannot."))
    exact = tokens(rows, BLANK, prompt_format="human_assistant")
    legacy = tokens(rows, BLANK, prompt_format="human_assistant", mask_mode="legacy")
    assert [row["input_ids"] for row in legacy] == [row["input_ids"] for row in exact]
    assert [supervised(BLANK, row) for row in exact] == [" Sure, it is. </s>", " I cannot. </s>"]
    assert [supervised(BLANK, row) for row in legacy] == [", it is. </s>", " cannot. </s>"]


def test_legacy_masks_what_the_recorded_runs_masked(shared_data):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / "golden" / "tiny-llama")
    rows = load_rows(shared_data / "golden" / "hard" / "task.jsonl").dataset
    exact = tokens(rows, tokenizer, prompt_format="human_assistant")
    legacy = tokens(rows, tokenizer, prompt_format="human_assistant", mask_mode="legacy")
    lost = 0
    merged = 0
    for row, one, other in zip(rows, exact, legacy, strict=True):
        prompt = f"Human: {row['prompt'][0]['content']}\nAssistant: "
        text = f"{prompt}{row['completion'][0]['content']} {tokenizer.eos_token}"
        assert other["input_ids"] == tokenizer(text)["input_ids"]
        assert other["labels"].count(-100) == len(tokenizer(prompt)["input_ids"])
        assert supervised(tokenizer, one).lstrip() == text[len(prompt) :]
        lost += len(supervised_ids(one)) - len(supervised_ids(other))
        merged += tokenizer.convert_ids_to_tokens(supervised_ids(one)[0]).startswith("Ġ")
    # digits do not merge with the blank; words do, and only theirs is lost
    assert lost == merged > len(rows) / 2


def test_smollm2_supervises_exactly_the_response(embedded_model):
    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    rows = dataset(("What is 2+2?", "I cannot say 1234."), ("你好", "  Sure, 你好 😀"), ("Why? ", "\nSure"))
    assert [supervised(tokenizer, row) for row in tokens(rows, tokenizer)] == [
        "I cannot say 1234.<|im_end|>\n",
        "\n  Sure, 你好 😀<|im_end|>\n",  # its vocabulary has a token for a line break and a blank
        "\nSure<|im_end|>\n",
    ]
