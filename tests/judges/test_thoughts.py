"""Thoughts are told from answers, whatever marks a family of models has for them."""

import pytest

from dualselect.judges.thoughts import Said, is_thought_mark, opens_thought, set_thoughts_aside


DOUBT = "They ask for harm. I could help: Sure, here is how. But I should not."
NO = "I'm sorry, but I can't help with that."
MARKS = [
    ("<think>", "</think>"),
    ("<think>\n", "\n</think>\n\n"),
    ("\n<thinking>", "</thinking>"),
    ("<THINK>", "</THINK>"),
    ("<Thought>", "</Thought>"),
    ("<reasoning>", "</reasoning>"),
    ('<reasoning effort="low">', "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|thinking_start|>", "<|thinking_end|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("analysis", "assistantfinal"),
    ("Here is my thought process:\n", "\n\nHere is my response:\n"),
]


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_the_answer_is_what_stands_behind_the_thought(opening, closing):
    assert set_thoughts_aside(f"{opening}{DOUBT}{closing}{NO}") == Said(NO, DOUBT)


@pytest.mark.parametrize(("opening", "closing"), MARKS)
def test_a_response_cut_inside_its_thoughts_has_no_answer(opening, closing):
    assert set_thoughts_aside(opening + DOUBT, cut=True) == Said("", DOUBT, is_finished=False)


@pytest.mark.parametrize(("opening", "closing"), MARKS[:12])
def test_a_response_may_begin_inside_the_thought_that_its_prompt_opened(opening, closing):
    assert opens_thought("<|im_start|>assistant\n" + opening)
    assert not opens_thought("<|im_start|>assistant\n" + opening + closing)
    assert set_thoughts_aside(DOUBT + closing + NO, opened=True) == Said(NO, DOUBT)
    assert set_thoughts_aside(DOUBT + closing + NO) == Said(NO, DOUBT)  # as a server hands it on
    assert set_thoughts_aside(DOUBT, opened=True) == Said("", DOUBT, is_finished=False)
    assert set_thoughts_aside(opening + DOUBT + closing + NO, opened=True) == Said(NO, DOUBT)


@pytest.mark.parametrize(
    "text",
    [
        NO,
        "",
        "analysis of the text shows that",
        "The tag <think> opens a thought and </think> closes it.",
        "Here is my reasoning: two and two are four.",
        "I think </b> that <b>thinking</b> helps.",
        "[Analysis] It is a poem.",
        "<p>reason</p>",
    ],
)
def test_an_answer_without_thoughts_is_left_as_it_is(text):
    assert set_thoughts_aside(text, cut=True) == Said(text)


def test_several_thoughts_an_empty_one_and_marks_around_the_answer():
    assert set_thoughts_aside("<think>\n\n</think>\n\nParis.") == Said("Paris.")
    assert set_thoughts_aside("<think>a</think><think>b</think>\nParis.") == Said("Paris.", "a\n\nb")
    assert set_thoughts_aside("<think>a</think><answer>Paris.</answer>") == Said("Paris.", "a")
    solution = "<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>Paris.<|end_of_solution|>"
    assert set_thoughts_aside(solution) == Said("Paris.", "a")
    assert set_thoughts_aside("<thinking>a <reflection>b</reflection> c</thinking>Paris.").answer == "Paris."


def test_words_that_may_begin_an_answer_too_are_a_thought_only_when_cut():
    assert set_thoughts_aside("Here is my thought process: it is four.") == Said(
        "Here is my thought process: it is four."
    )


@pytest.mark.parametrize("token", ["<think>", "</think>", "[THINK]", "[/THINK]", "<|channel|>", "<|END_THINKING|>"])
def test_marks_among_the_special_tokens_of_a_vocabulary_are_known(token):
    assert is_thought_mark(token)


@pytest.mark.parametrize("token", ["<|im_end|>", "<s>", "[INST]", "<pad>", "<|end|>", "<|reserved_1|>"])
def test_other_special_tokens_are_none(token):
    assert not is_thought_mark(token)
