"""Whether a response ends in the right answer."""

import re


# greedy up to the last one: a model that corrects itself is judged by what it says at the end
_LAST_ANSWER = re.compile(r".*\b[Tt]he answer is:?[ \t]+(?P<answer>[^\n]+)", re.DOTALL)


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


def _plain(text: str) -> str:
    text = text.strip().rstrip(".").strip("\"'`*").rstrip(".").strip()
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
