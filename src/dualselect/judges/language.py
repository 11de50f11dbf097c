"""Detect texts in other languages than English, by letters and then by frequent words."""

import json
import re
from pathlib import Path


WORDS_READ = 80
FOREIGN_LETTERS = 0.3
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
FREQUENT_WORDS: dict[str, str] = json.loads(Path(__file__).with_name("frequent_words.json").read_text("utf-8"))
"""The most frequent words of each language, separated by blanks."""
DECIDING = (WORDS_READ, FOREIGN_LETTERS, _WORD.pattern, FREQUENT_WORDS)
"""Everything that determines the detection, for hashes."""
_ENGLISH = frozenset(FREQUENT_WORDS["English"].split())
# words that are also English count for English only
_OTHERS = {name: frozenset(words.split()) - _ENGLISH for name, words in FREQUENT_WORDS.items() if name != "English"}


def other_language(text: str) -> str:
    """Why a text is classified as another language than English; empty if it is not.

    A text is in another language if it has many letters other than A to Z, or if more of its first words are frequent
    in another language than in English. Numbers, code and names count for no language.

    Args:
        text: The text.
    """
    letters = [letter for letter in text if letter.isalpha()]
    foreign = sum(not letter.isascii() for letter in letters)
    if foreign > FOREIGN_LETTERS * len(letters):
        return f"not English: {foreign} of {len(letters)} letters are not A to Z"
    words = [word.lower() for word in _WORD.findall(text.replace("\u2019", "'"))[:WORDS_READ]]
    english = sum(word in _ENGLISH for word in words)
    counts = {name: sum(word in frequent for word in words) for name, frequent in _OTHERS.items()}
    language = max(counts, key=lambda name: counts[name])
    if counts[language] <= max(english, 1):
        return ""
    return (
        f"not English: of the first {len(words)} words {counts[language]} are frequent in {language} and {english} in "
        "English"
    )
