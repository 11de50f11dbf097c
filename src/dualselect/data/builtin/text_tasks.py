"""Short edits of a word or a line."""

import random


WORDS = (
    "garden", "river", "window", "silver", "butter", "planet", "basket", "candle", "bridge", "forest", "pocket",
    "winter", "orange", "ladder", "mirror", "castle", "button", "island", "summer", "pencil", "rabbit", "dragon",
    "kitchen", "morning", "blanket", "picture", "feather", "station", "weather", "lantern", "mountain", "sandwich",
    "cloud", "stone", "table", "chair", "green", "music", "paper", "horse", "light", "ocean", "train", "bread",
    "apple", "house", "tiger", "lemon", "piano", "robot", "night", "water", "clock", "spoon", "grape", "small",
    "happy", "quiet", "yellow", "purple",
)  # fmt: skip

# Plurals that no one rule gives are listed as they are.
PLURALS: tuple[tuple[str, str], ...] = (
    ("cat", "cats"), ("dog", "dogs"), ("book", "books"), ("tree", "trees"), ("car", "cars"), ("lamp", "lamps"),
    ("door", "doors"), ("shoe", "shoes"), ("bird", "birds"), ("cup", "cups"), ("ring", "rings"), ("song", "songs"),
    ("box", "boxes"), ("bus", "buses"), ("dish", "dishes"), ("glass", "glasses"), ("watch", "watches"),
    ("brush", "brushes"), ("fox", "foxes"), ("class", "classes"), ("bench", "benches"), ("peach", "peaches"),
    ("city", "cities"), ("baby", "babies"), ("story", "stories"), ("party", "parties"), ("berry", "berries"),
    ("lady", "ladies"), ("cherry", "cherries"), ("country", "countries"), ("family", "families"), ("puppy", "puppies"),
    ("leaf", "leaves"), ("wolf", "wolves"), ("knife", "knives"), ("shelf", "shelves"), ("loaf", "loaves"),
    ("child", "children"), ("mouse", "mice"), ("foot", "feet"), ("tooth", "teeth"), ("goose", "geese"),
    ("man", "men"), ("woman", "women"), ("toy", "toys"), ("key", "keys"), ("day", "days"), ("boy", "boys"),
)  # fmt: skip


def text_task(rng: random.Random) -> tuple[str, str, str]:
    """One edit: its request, its working and its answer."""
    return rng.choice(_EDITS)(rng)


def _line(rng: random.Random, words: int) -> list[str]:
    return rng.sample(WORDS, words)


def _upper(rng: random.Random) -> tuple[str, str, str]:
    line = " ".join(_line(rng, rng.choice((1, 2))))
    return f'Write "{line}" in capital letters.', "Every letter becomes a capital letter.", line.upper()


def _lower(rng: random.Random) -> tuple[str, str, str]:
    line = " ".join(_line(rng, rng.choice((1, 2)))).upper()
    return f'Write "{line}" in small letters.', "Every letter becomes a small letter.", line.lower()


def _title(rng: random.Random) -> tuple[str, str, str]:
    line = " ".join(_line(rng, 2))
    return f'Capitalize the first letter of each word in "{line}".', "Each word gets one capital.", line.title()


def _reverse(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, rng.choice((2, 3)))
    line, answer = " ".join(words), " ".join(reversed(words))
    return f'Reverse the order of the words in "{line}".', "The last word comes first.", answer


def _replace(rng: random.Random) -> tuple[str, str, str]:
    *words, new = _line(rng, 4)
    place = rng.randrange(len(words))
    old = words[place]
    answer = " ".join([*words[:place], new, *words[place + 1 :]])
    prompt = f'Replace the word "{old}" with "{new}" in "{" ".join(words)}".'
    return prompt, f"{old} becomes {new}.", answer


def _remove(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, 3)
    old = rng.choice(words)
    answer = " ".join(word for word in words if word != old)
    return f'Remove the word "{old}" from "{" ".join(words)}".', "The other words stay.", answer


def _append(rng: random.Random) -> tuple[str, str, str]:
    *words, new = _line(rng, 3)
    line = " ".join(words)
    return f'Add the word "{new}" at the end of "{line}".', f"{new} comes last.", f"{line} {new}"


def _hyphens(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, rng.choice((2, 3)))
    return f'Join the words "{" ".join(words)}" with hyphens.', "Each space becomes a hyphen.", "-".join(words)


def _plural(rng: random.Random) -> tuple[str, str, str]:
    one, many = rng.choice(PLURALS)
    return f'Write the plural of "{one}".', f"One {one}, two {many}.", many


def _first_word(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, 3)
    return f'What is the first word of "{" ".join(words)}"?', f"The line starts with {words[0]}.", words[0]


def _last_word(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, 3)
    return f'What is the last word of "{" ".join(words)}"?', f"The line ends with {words[-1]}.", words[-1]


def _sorted(rng: random.Random) -> tuple[str, str, str]:
    words = _line(rng, 2)
    answer = " ".join(sorted(words))
    return f'Put the words "{" ".join(words)}" in alphabetical order.', f"{min(words)} comes first.", answer


_EDITS = (
    _upper, _lower, _title, _reverse, _replace, _remove, _append, _hyphens, _plural, _first_word, _last_word, _sorted,
)  # fmt: skip
