"""Whether a response ends in the right answer."""

import re


_LAST_ANSWER = re.compile(r"the answer is:?\s*(?P<answer>.+?)\s*$", re.IGNORECASE | re.MULTILINE)


def exact_match(response: str, answer: str) -> bool:
    """Whether the response's last "The answer is X." names the answer.

    Letter case, a full stop at the end, quotes around it and commas within numbers do not matter.

    Args:
        response: The text.
        answer: The exact answer.
    """
    found = _LAST_ANSWER.findall(response)
    return bool(found) and _plain(found[-1]) == _plain(answer)


def _plain(text: str) -> str:
    text = text.strip().rstrip(".").strip("\"'`").lower()
    return re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
