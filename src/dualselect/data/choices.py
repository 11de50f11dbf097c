"""Multiple-choice rows: lettered choices in the prompt, and the answer among them."""

import ast
from collections.abc import Mapping
from typing import Any

from dualselect.data.turns import text_of
from dualselect.data.values import parsed_text
from dualselect.errors import DataError


def lettered(choices: Any, column: str, place: str) -> tuple[list[str], list[str]]:
    """The letters and texts of the choices; no letters where the choices are one text.

    Args:
        choices: A list of texts, an object with the lists `text` and `label`, an object from letter to text, or one
            text.
        column: Where they come from, for messages.
        place: Which row, for messages.

    Raises:
        DataError: They have another form.
    """
    value = _listed(choices)
    if isinstance(value, str):
        return [], [text_of(value, column, place)]
    labels: Any = None
    if isinstance(value, Mapping) and isinstance(value.get("text"), list):
        labels, value = value.get("label"), value["text"]
    elif isinstance(value, Mapping):
        labels, value = list(value), list(value.values())
    elif isinstance(value, list) and value and all(isinstance(one, Mapping) and "text" in one for one in value):
        labels, value = [one.get("label", one.get("key")) for one in value], [one["text"] for one in value]
    if not isinstance(value, list) or not value or any(isinstance(one, list | Mapping) for one in value):
        raise DataError(f"{place}: {column} is not a list of choices: write a list of texts, or one text")
    texts = [text_of(one if isinstance(one, str) else str(one), column, place) for one in value]
    if not isinstance(labels, list) or len(labels) != len(texts) or any(label is None for label in labels):
        labels = [chr(ord("A") + number) for number in range(len(texts))]
    return [str(label) for label in labels], texts


def prompt_lines(letters: list[str], texts: list[str]) -> str:
    """The choices as lines of the prompt."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(letters, texts, strict=True)) if letters else texts[0]


def answer_among(answer: Any, letters: list[str], texts: list[str], column: str, place: str) -> str:
    """The response: the answer as it is where it is a letter or a text of the choices; an index as letter and text.

    Raises:
        DataError: It is an index that no choice has.
    """
    if answer is None or not letters:
        return text_of(answer, column, place)
    given = str(int(answer)) if isinstance(answer, float) and answer.is_integer() else str(answer)
    if isinstance(answer, str) and (not answer.strip() or answer.strip() in (*letters, *texts)):
        return text_of(answer, column, place)
    if isinstance(answer, str) and not given.strip().isdigit():
        return text_of(answer, column, place)  # a worked answer, or several letters
    if given.strip().isdigit() and int(given) < len(letters):
        return f"{letters[int(given)]}. {texts[int(given)]}"
    raise DataError(
        f"{place}: {column} is {answer!r}, and there are {len(letters)} choices, counted from 0: write the "
        "letter, the text or the index of one"
    )


def _listed(value: Any) -> Any:
    """Choices that a CSV file holds as JSON or as Python's text of a list."""
    value = parsed_text(value, list | dict)
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            parsed = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return value
        return parsed if isinstance(parsed, list | dict) else value
    return value
