"""What one line of Python prints."""

import random

from dualselect.data.builtin.text_tasks import WORDS


def code_task(rng: random.Random) -> tuple[str, str, str]:
    """One line of Python: its request, its working and what it prints."""
    expression, working, printed = rng.choice(_LINES)(rng)
    return f"What does this line of Python print? `print({expression})`", working, printed


def _sum_and_product(rng: random.Random) -> tuple[str, str, str]:
    a, b, c = rng.randint(2, 20), rng.randint(2, 9), rng.randint(2, 9)
    return f"{a} + {b} * {c}", f"{b} * {c} = {b * c}. {a} + {b * c} = {a + b * c}.", str(a + b * c)


def _product_of_sum(rng: random.Random) -> tuple[str, str, str]:
    a, b, c = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9)
    return f"({a} + {b}) * {c}", f"{a} + {b} = {a + b}. {a + b} * {c} = {(a + b) * c}.", str((a + b) * c)


def _remainder(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randint(10, 40), rng.randint(2, 9)
    whole, left = divmod(a, b)
    return f"{a} % {b}", f"{b} * {whole} = {b * whole}. {a} - {b * whole} = {left}.", str(left)


def _whole_quotient(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.randint(10, 40), rng.randint(2, 9)
    return f"{a} // {b}", f"{b} fits {a // b} times into {a}.", str(a // b)


def _square(rng: random.Random) -> tuple[str, str, str]:
    a = rng.randint(2, 20)
    return f"{a} ** 2", f"{a} * {a} = {a * a}.", str(a * a)


def _length(rng: random.Random) -> tuple[str, str, str]:
    word = rng.choice(WORDS)
    return f'len("{word}")', f"{word} has {len(word)} letters.", str(len(word))


def _upper(rng: random.Random) -> tuple[str, str, str]:
    word = rng.choice(WORDS)
    return f'"{word}".upper()', "upper makes capital letters.", word.upper()


def _letter(rng: random.Random) -> tuple[str, str, str]:
    word, index = rng.choice(WORDS), rng.choice((0, 0, 1, -1))
    place = {0: "first", 1: "second", -1: "last"}[index]
    return f'"{word}"[{index}]', f"This is the {place} letter of {word}.", word[index]


def _beginning(rng: random.Random) -> tuple[str, str, str]:
    word, length = rng.choice(WORDS), rng.randint(2, 4)
    return f'"{word}"[:{length}]', f"These are the first {length} letters of {word}.", word[:length]


def _repeated(rng: random.Random) -> tuple[str, str, str]:
    text, times = rng.choice(("ab", "ha", "no", "la", "x", "ok", "to")), rng.randint(2, 4)
    return f'"{text}" * {times}', f"{text} is repeated {times} times.", text * times


def _joined(rng: random.Random) -> tuple[str, str, str]:
    left, right = rng.sample(WORDS, 2)
    return f'"{left}" + "{right}"', "The words are joined without a space.", left + right


def _largest(rng: random.Random) -> tuple[str, str, str]:
    numbers = rng.sample(range(1, 50), 3)
    return f"max({numbers})", f"The largest number is {max(numbers)}.", str(max(numbers))


def _smallest(rng: random.Random) -> tuple[str, str, str]:
    numbers = rng.sample(range(1, 50), 3)
    return f"min({numbers})", f"The smallest number is {min(numbers)}.", str(min(numbers))


def _total(rng: random.Random) -> tuple[str, str, str]:
    a, b, c = (rng.randint(1, 20) for _ in range(3))
    return f"sum([{a}, {b}, {c}])", f"{a} + {b} = {a + b}. {a + b} + {c} = {a + b + c}.", str(a + b + c)


def _count(rng: random.Random) -> tuple[str, str, str]:
    numbers = rng.sample(range(1, 30), rng.randint(2, 5))
    return f"len({numbers})", f"The list has {len(numbers)} items.", str(len(numbers))


def _in_order(rng: random.Random) -> tuple[str, str, str]:
    numbers = rng.sample(range(1, 30), 3)
    return f"sorted({numbers})", f"The smallest number is {min(numbers)}.", str(sorted(numbers))


def _item(rng: random.Random) -> tuple[str, str, str]:
    numbers, index = rng.sample(range(1, 50), 3), rng.randrange(3)
    return f"{numbers}[{index}]", "The first item has index 0.", str(numbers[index])


def _comparison(rng: random.Random) -> tuple[str, str, str]:
    a, b = rng.sample(range(1, 50), 2)
    relation = "greater" if a > b else "smaller"
    return f"{a} > {b}", f"{a} is {relation} than {b}.", str(a > b)


_LINES = (
    _sum_and_product, _product_of_sum, _remainder, _whole_quotient, _square, _length, _upper, _letter, _beginning,
    _repeated, _joined, _largest, _smallest, _total, _count, _in_order, _item, _comparison,
)  # fmt: skip
