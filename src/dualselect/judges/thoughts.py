"""Thoughts of reasoning models, separated from their answers: what is judged is what a user is answered.

Marks of several families are known: `<think>`, `<thinking>`, `<reasoning>`, `[THINK]`, `<|begin_of_thought|>`,
`<|START_THINKING|>`, the channels of gpt-oss and Gemma, and the headings of Granite.
"""

import re
from dataclasses import dataclass


_WORD = (
    r"(?:\w+[:_-])?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|rationale|monologue|cot)"
    r"(?:[_-](?:process|steps?))?"
)
_OPENING = re.compile(
    rf"\s*(?:<(?P<tag>{_WORD})(?:\s[^<>]*)?>|\[(?P<bracket>(?:think|reason)(?:ing)?)\]|◁(?P<triangle>{_WORD})▷"
    rf"|<\|(?:(?:begin|start)_(?:of_)?)?(?P<pipe>(?!end|/){_WORD}?)(?:_(?:begin|start))?\|>"
    r"|(?P<channel><\|channel>(?:thought|analysis))"
    r"|(?P<heading>Here (?:is my thought process|are my reasoning steps):))",
    re.IGNORECASE,
)
_CLOSINGS = {
    "tag": r"</{word}\s*>",
    "bracket": r"\[/{word}\]",
    "triangle": r"◁/{word}▷",
    "pipe": r"<\|(?:end_(?:of_)?|/){word}\|>|<\|{word}_end\|>",
    "channel": r"<channel\|>",
    "heading": r"Here is my (?:response|answer):|(?=\[BEGIN FINAL RESPONSE\])",
}
_ANY_OPENING = re.compile(_OPENING.pattern.removeprefix(r"\s*"), re.IGNORECASE)
_ANY_CLOSING = re.compile(
    "|".join(form.format(word=_WORD) for kind, form in _CLOSINGS.items() if kind != "heading"), re.IGNORECASE
)
# What may surround the answer after a thought.
_ANSWER_OPENING = re.compile(
    r"\s*(?:<(?:answer|response|output|final|solution)>|<\|(?:begin|start)_(?:of_)?(?:solution|response|answer)\|>"
    r"|\[BEGIN FINAL RESPONSE\])\s*",
    re.IGNORECASE,
)
_ANSWER_CLOSING = re.compile(
    r"\s*(?:</(?:answer|response|output|final|solution)>|<\|end_(?:of_)?(?:solution|response|answer)\|>"
    r"|\[END FINAL RESPONSE\])\s*\Z",
    re.IGNORECASE,
)
# gpt-oss: <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...
_CHANNELS = re.compile(r"\s*(?:<\|start\|>\s*assistant)?\s*<\|channel\|>", re.IGNORECASE)
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?P<name>\w+)[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
    r"(?P<text>.*?)(?=<\|(?:end|return|call|start|channel)\|>|\Z)",
    re.IGNORECASE | re.DOTALL,
)
# The same once a decoder dropped its marks.
_BARE_CHANNELS = re.compile(
    r"\s*analysis(?=[A-Z\"'])(?P<thought>.*?)(?:assistant(?:commentary.*?assistant)?final|\Z)", re.DOTALL
)


@dataclass(frozen=True)
class Said:
    """A response, taken apart.

    Attributes:
        answer: What a user is answered; empty where the response ends inside its thoughts.
        thought: What was thought before, without its marks; empty for a model that does not think aloud.
        is_finished: Whether the thoughts ended.
    """

    answer: str
    thought: str = ""
    is_finished: bool = True


def set_thoughts_aside(text: str, *, opened: bool = False, cut: bool = False) -> Said:
    """Tell thoughts at the beginning of a response from its answer.

    Args:
        text: The response.
        opened: Whether the prompt ended inside a thought, so that the response begins there.
        cut: Whether the response was ended by its longest length.
    """
    if _CHANNELS.match(text):
        return _of_channels(text)
    if bare := _BARE_CHANNELS.match(text):
        is_finished = bare.end() > bare.end("thought")
        return Said(text[bare.end() :].strip(), bare["thought"].strip(), is_finished)
    thoughts: list[str] = []
    rest, inside = text, opened
    while True:
        opening = _OPENING.match(rest)
        if opening is None and not inside and (thoughts or not _begins_inside(rest)):
            break
        start = opening.end() if opening else 0
        closing = _closing(opening).search(rest, start)
        if closing is None:
            if opening and opening["heading"] and not cut:  # plain words, which may begin an answer too
                break
            return Said("", "\n\n".join([*thoughts, rest[start:].strip()]).strip(), is_finished=False)
        thoughts.append(rest[start : closing.start()].strip())
        rest, inside = rest[closing.end() :], False
    thought = "\n\n".join(one for one in thoughts if one)
    return Said(_unwrapped(rest) if thoughts else rest.strip(), thought)


def opens_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends with the opening mark of a thought, as templates of some models do."""
    *_, last = [None, *_ANY_OPENING.finditer(prompt[-100:])]
    return last is not None and not last["heading"] and not prompt[-100:][last.end() :].strip()


def is_thought_mark(token: str) -> bool:
    """Whether a token of a vocabulary is, or begins, a mark that tells thoughts from answers."""
    whole = _ANY_OPENING.fullmatch(token) or _ANY_CLOSING.fullmatch(token)
    return bool(whole) or token.lower() in ("<|channel|>", "<|channel>", "<channel|>")


def _begins_inside(text: str) -> bool:
    """Whether there is a closing mark that nothing opened."""
    closing = _ANY_CLOSING.search(text)
    return closing is not None and _ANY_OPENING.search(text, 0, closing.start()) is None


def _closing(opening: re.Match[str] | None) -> re.Pattern[str]:
    if opening is None:
        return _ANY_CLOSING
    kind = next(name for name, found in opening.groupdict().items() if found)
    return re.compile(_CLOSINGS[kind].format(word=re.escape(opening[kind])), re.IGNORECASE)


def _of_channels(text: str) -> Said:
    parts = [(found["name"].lower(), found["text"].strip()) for found in _CHANNEL.finditer(text)]
    answers = [said for name, said in parts if name == "final"]
    thought = "\n\n".join(said for name, said in parts if name != "final")
    return Said("\n\n".join(answers), thought, is_finished=bool(answers))


def _unwrapped(answer: str) -> str:
    opening = _ANSWER_OPENING.match(answer)
    return _ANSWER_CLOSING.sub("", answer[opening.end() :] if opening else answer).strip()
