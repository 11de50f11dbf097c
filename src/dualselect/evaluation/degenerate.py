"""Signs of a broken model: it says nothing, or the same over and over."""

WINDOW_CHARACTERS = 12
SHORTEST_CHARACTERS = 40


def is_empty(response: str) -> bool:
    """Whether a response has no visible character."""
    return not response.strip()


def is_repetitive(response: str) -> bool:
    """Whether a response repeats itself: fewer than half of its windows of 12 characters are distinct.

    A text that ends in a loop is repetitive once the loop is longer than what came before it. Texts of fewer than 40
    characters are too short to tell and count as not repetitive.

    Args:
        response: The text; letter case and the width of blanks do not matter.
    """
    text = " ".join(response.casefold().split())
    if len(text) < SHORTEST_CHARACTERS:
        return False
    windows = [text[start : start + WINDOW_CHARACTERS] for start in range(len(text) - WINDOW_CHARACTERS + 1)]
    return 2 * len(set(windows)) < len(windows)
