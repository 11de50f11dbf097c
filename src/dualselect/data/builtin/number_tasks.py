"""Word problems of one or two steps, and unit conversions, in whole numbers."""

import random
from collections.abc import Callable


_NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Farid", "Grace", "Hugo", "Ivy", "Jonas", "Kira", "Leo", "Mina", "Noah",
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
    text, draw = rng.choice(_STORIES)
    numbers, working, answer = draw(rng)
    name, other = rng.sample(_NAMES, 2)
    slots = {"name": name, "other": other, "things": rng.choice(_THINGS), "boxes": rng.choice(_CONTAINERS)}
    return text.format(*numbers, **slots), working, str(answer)


# The numbers of a problem in the order of its text, the working, and the answer.
_Problem = tuple[tuple[int, ...], str, int]


def _sum(rng: random.Random) -> _Problem:
    a, b = _some(rng), _few(rng)
    return (a, b), f"{a} + {b} = {a + b}.", a + b


def _difference(rng: random.Random) -> _Problem:
    left, b = _some(rng), _few(rng)
    a = left + b
    return (a, b), f"{a} - {b} = {left}.", left


def _product(rng: random.Random) -> _Problem:
    a, b = _few(rng), _few(rng)
    return (a, b), f"{a} * {b} = {a * b}.", a * b


def _quotient(rng: random.Random) -> _Problem:
    each, b = _few(rng), _few(rng)
    a = each * b
    return (a, b), f"{a} / {b} = {each}.", each


def _product_and_rest(rng: random.Random) -> _Problem:
    a, b, c = _few(rng), _few(rng), _some(rng)
    return (a, b, c), f"{a} * {b} = {a * b}. {a * b} + {c} = {a * b + c}.", a * b + c


def _two_differences(rng: random.Random) -> _Problem:
    left, b, c = _some(rng), _few(rng), _few(rng)
    a = left + b + c
    return (a, b, c), f"{a} - {b} = {left + c}. {left + c} - {c} = {left}.", left


def _change(rng: random.Random) -> _Problem:
    a, b, back = _few(rng), _few(rng), _some(rng)
    paid = a * b + back
    return (a, b, paid), f"{a} * {b} = {a * b}. {paid} - {a * b} = {back}.", back


def _both(rng: random.Random) -> _Problem:
    a, b = _some(rng), _few(rng)
    return (a, b), f"{a} + {b} = {a + b}. {a} + {a + b} = {2 * a + b}.", 2 * a + b


def _few(rng: random.Random) -> int:
    return rng.randint(2, 9)


def _some(rng: random.Random) -> int:
    return rng.randint(5, 40)


_STORIES: tuple[tuple[str, Callable[[random.Random], _Problem]], ...] = (
    ("{name} has {0} {things}. {other} gives {name} {1} more. How many {things} does {name} have now?", _sum),
    ("{name} has {0} {things} and gives {1} of them away. How many {things} does {name} have left?", _difference),
    ("{name} has {0} {boxes} with {1} {things} in each. How many {things} does {name} have in total?", _product),
    ("{name} shares {0} {things} equally among {1} friends. How many {things} does each friend get?", _quotient),
    (
        "{name} fills {0} {boxes} with {1} {things} each and has {2} {things} left over. "
        "How many {things} did {name} have at first?",
        _product_and_rest,
    ),
    (
        "{name} has {0} {things}. {name} gives {1} to {other} and loses {2}. How many {things} does {name} have left?",
        _two_differences,
    ),
    (
        "{name} buys {0} {things} for {1} dollars each and pays with {2} dollars. "
        "How many dollars does {name} get back?",
        _change,
    ),
    (
        "{name} has {0} {things}. {other} has {1} more than {name}. "
        "How many {things} do {name} and {other} have together?",
        _both,
    ),
)


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
