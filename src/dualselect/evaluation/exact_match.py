"""Whether a response gives the right answer."""

import re
from collections.abc import Callable, Mapping
from typing import Literal


AnswerFormat = Literal["sentence", "gsm8k", "any"]
"""How a suite of tasks wants its answers: "The answer is X.", GSM8K's `#### X`, or in either or no form."""

# greedy up to the last one: a model that corrects itself is judged by what it says at the end
_LAST_ANSWER = re.compile(r".*\b[Tt]he answer is:?[ \t]+(?P<answer>[^\n]+)", re.DOTALL)
_LAST_HASHES = re.compile(r".*####[ \t]*(?P<answer>[^\n]+)", re.DOTALL)
# the minus of "10-12" is none of a number
_NUMBER = re.compile(r"(?:(?<!\d)-)?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))(?:\.\d+)?")


def exact_match(response: str, answer: str) -> bool:
    """Whether the response's last "The answer is X." gives the answer and nothing else.

    Commas within numbers, quotes or stars around the answer and a full stop after it do not matter; letter case does,
    since capital letters are what some tasks ask for.

    Args:
        response: The text.
        answer: The exact answer.
    """
    found = _LAST_ANSWER.match(response)
    return found is not None and _plain(found["answer"]) == _plain(answer)


def gsm8k_strict(response: str, answer: str) -> bool:
    """Whether the number behind the response's last `####` is the answer; commas and a currency sign do not matter.

    Args:
        response: The text.
        answer: A number as text.
    """
    found = _LAST_HASHES.match(response)
    number = _NUMBER.match(found["answer"].lstrip("$€£ ")) if found else None
    return number is not None and _same_number(number[0], answer)


def gsm8k_flexible(response: str, answer: str) -> bool:
    """Whether the last number of the response, anywhere in it, is the answer.

    Args:
        response: The text.
        answer: A number as text.
    """
    numbers = _NUMBER.findall(response)
    return bool(numbers) and _same_number(numbers[-1], answer)


def stated_match(response: str, answer: str) -> bool:
    """Whether what a response states as its answer is the answer.

    What it states comes after its last `####`, else behind its last "The answer is", else is all of it. Two numbers
    are compared as numbers.

    Args:
        response: The text.
        answer: The exact answer.
    """
    found = _LAST_HASHES.match(response) or _LAST_ANSWER.match(response)
    stated, right = _plain(found["answer"] if found else response), _plain(answer)
    return _same_number(stated, right) if is_number(stated) and is_number(right) else stated == right


def is_number(answer: str) -> bool:
    """Whether an answer is one number and nothing else."""
    return _NUMBER.fullmatch(answer) is not None


MATCHERS: Mapping[AnswerFormat, Mapping[str, Callable[[str, str], bool]]] = {
    "sentence": {"exact_match": exact_match},
    "gsm8k": {"exact_match": gsm8k_strict, "exact_match_flexible": gsm8k_flexible},
    "any": {"exact_match": stated_match},
}
"""For each way to give answers, the measures and how a response and an answer are compared."""


def _plain(text: str) -> str:
    text = text.strip().rstrip(".").strip("\"'`*").rstrip(".").strip()
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)


def _same_number(found: str, answer: str) -> bool:
    return float(found.replace(",", "")) == float(answer.replace(",", ""))
