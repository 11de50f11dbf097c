"""Word problems of one or two steps, and unit conversions, in whole numbers."""

import random

_NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kira", "Leo", "Mina", "Noah",
    "Olga", "Paul", "Rosa", "Sam", "Tara", "Yusuf",
)  # fmt: skip
_THINGS = (
    "apples", "books", "stamps", "marbles", "pencils", "cookies", "shells", "stickers", "coins", "cards", "buttons",
    "postcards", "beads", "candles", "flowers", "eggs", "balloons", "ribbons", "nuts", "tickets",
)  # fmt: skip
_CONTAINERS = ("boxes", "bags", "baskets", "jars", "drawers", "trays")

# (larger unit, its singular, smaller unit, how many smaller ones it holds, largest count asked)
UNITS: tuple[tuple[str, str, str, int, int], ...] = (
    ("kilometers", "kilometer", "meters", 1000, 60),
    ("meters", "meter", "centimeters", 100, 60),
    ("centimeters", "centimeter", "millimeters", 10, 60),
    ("meters", "meter", "millimeters", 1000, 60),
    ("kilograms", "kilogram", "grams", 1000, 60),
    ("grams", "gram", "milligrams", 1000, 60),
    ("liters", "liter", "milliliters", 1000, 60),
    ("metric tons", "metric ton", "kilograms", 1000, 60),
    ("dollars", "dollar", "cents", 100, 60),
    ("centuries", "century", "years", 100, 30),
    ("decades", "decade", "years", 10, 60),
    ("hours", "hour", "minutes", 60, 24),
    ("minutes", "minute", "seconds", 60, 24),
    ("days", "day", "hours", 24, 12),
    ("weeks", "week", "days", 7, 24),
    ("years", "year", "months", 12, 20),
    ("feet", "foot", "inches", 12, 20),
    ("yards", "yard", "feet", 3, 40),
    ("pounds", "pound", "ounces", 16, 12),
    ("gallons", "gallon", "quarts", 4, 40),
    ("quarts", "quart", "pints", 2, 40),
    ("pints", "pint", "cups", 2, 40),
)
_CONVERSION_WORDINGS = (
    "Convert {count} {source} to {target}.",
    "How many {target} are {count} {source}?",
    "Change {count} {source} into {target}.",
)


def arithmetic_task(rng: random.Random) -> tuple[str, str, str]:
    """One word problem: its request, its working and its answer."""
    name, other = rng.sample(_NAMES, 2)
    thing, box = rng.choice(_THINGS), rng.choice(_CONTAINERS)
    a, b, c = rng.randint(5, 40), rng.randint(2, 12), rng.randint(2, 9)
    story = rng.choice(_STORIES)
    return story(name, other, thing, box, a, b, c)


def _gift(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    prompt = f"{name} has {a} {thing}. {other} gives {name} {b} more. How many {thing} does {name} have now?"
    return prompt, f"{a} + {b} = {a + b}.", str(a + b)


def _loss(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    total = a + b
    prompt = f"{name} has {total} {thing} and gives {b} of them to {other}. How many {thing} does {name} have left?"
    return prompt, f"{total} - {b} = {a}.", str(a)


def _boxes(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    prompt = f"{name} has {b} {box} with {c} {thing} in each. How many {thing} does {name} have in total?"
    return prompt, f"{b} * {c} = {b * c}.", str(b * c)


def _sharing(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    total = b * c
    prompt = f"{name} shares {total} {thing} equally among {c} friends. How many {thing} does each friend get?"
    return prompt, f"{total} / {c} = {b}.", str(b)


def _boxes_and_more(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    prompt = (
        f"{name} fills {b} {box} with {c} {thing} each and has {a} {thing} left over. "
        f"How many {thing} did {name} have at first?"
    )
    return prompt, f"{b} * {c} = {b * c}. {b * c} + {a} = {b * c + a}.", str(b * c + a)


def _twice_given(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    total = a + b + c
    prompt = f"{name} has {total} {thing}. {name} gives {b} to {other} and loses {c}. How many {thing} does {name} have left?"
    return prompt, f"{total} - {b} = {a + c}. {a + c} - {c} = {a}.", str(a)


def _price(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    paid = b * c + a
    prompt = f"{name} buys {b} {thing} for {c} dollars each and pays with {paid} dollars. How many dollars come back?"
    return prompt, f"{b} * {c} = {b * c}. {paid} - {b * c} = {a}.", str(a)


def _together(name: str, other: str, thing: str, box: str, a: int, b: int, c: int) -> tuple[str, str, str]:
    prompt = f"{name} has {a} {thing}. {other} has {b} more than {name}. How many {thing} do {name} and {other} have together?"
    return prompt, f"{a} + {b} = {a + b}. {a} + {a + b} = {2 * a + b}.", str(2 * a + b)


_STORIES = (_gift, _loss, _boxes, _sharing, _boxes_and_more, _twice_given, _price, _together)


def conversion_task(rng: random.Random) -> tuple[str, str, str]:
    """One unit conversion with a whole answer: its request, its working and its answer."""
    larger, one_larger, smaller, factor, most = rng.choice(UNITS)
    count = rng.randint(2, most)
    total = count * factor
    # The wording follows from the numbers, so that no problem comes back in other words in the other split.
    wording = _CONVERSION_WORDINGS[count % len(_CONVERSION_WORDINGS)]
    known = f"One {one_larger} is {factor} {smaller}."
    if rng.random() < 0.5:
        prompt = wording.format(count=count, source=larger, target=smaller)
        return prompt, f"{known} {count} * {factor} = {total}.", str(total)
    prompt = wording.format(count=total, source=smaller, target=larger)
    return prompt, f"{known} {total} / {factor} = {count}.", str(count)
