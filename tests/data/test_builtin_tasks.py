"""The exact answers of the built-in tasks, computed a second time from the prompts alone."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from dualselect.data.builtin import builtin_rows


SIZES = {"train": 4000, "test": 600}


def prompt_of(row: dict[str, Any]) -> str:
    return row["prompt"][0]["content"]


def completion_of(row: dict[str, Any]) -> str:
    return row["completion"][0]["content"]


def every_task() -> list[dict[str, Any]]:
    return [row for split, size in SIZES.items() for row in builtin_rows("task", size, split=split)]


def tasks(category: str) -> list[dict[str, Any]]:
    return [row for row in every_task() if row["category"] == category]


PROBLEMS: dict[str, Callable[..., int]] = {
    r"has (\d+) \w+\. \w+ gives \w+ (\d+) more\. How many .* now": lambda a, b: a + b,
    r"has (\d+) \w+ and gives (\d+) of them away\. .* left": lambda a, b: a - b,
    r"has (\d+) \w+ with (\d+) \w+ in each\. .* in total": lambda a, b: a * b,
    r"shares (\d+) \w+ equally among (\d+) friends\. .* each friend get": lambda a, b: a // b,
    r"fills (\d+) \w+ with (\d+) \w+ each and has (\d+) \w+ left over\. .* at first": lambda a, b, c: a * b + c,
    r"has (\d+) \w+\. \w+ gives (\d+) to \w+ and loses (\d+)\. .* left": lambda a, b, c: a - b - c,
    r"buys (\d+) \w+ for (\d+) dollars each and pays with (\d+) dollars\. .* get back": lambda a, b, c: c - a * b,
    r"has (\d+) \w+\. \w+ has (\d+) more than \w+\. .* together": lambda a, b: a + a + b,
}
IN_SMALLEST_UNIT = {
    "length": {"kilometers": 1_000_000, "meters": 1000, "centimeters": 10, "millimeters": 1},
    "weight": {"metric tons": 10**9, "kilograms": 10**6, "grams": 1000, "milligrams": 1},
    "volume": {"liters": 1000, "milliliters": 1},
    "money": {"dollars": 100, "cents": 1},
    "years": {"centuries": 1200, "decades": 120, "years": 12, "months": 1},
    "time": {"weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1},
    "feet": {"yards": 36, "feet": 12, "inches": 1},
    "pounds": {"pounds": 16, "ounces": 1},
    "gallons": {"gallons": 16, "quarts": 4, "pints": 2, "cups": 1},
}
EDITS: dict[str, Callable[..., str]] = {
    r'Write "(.*)" in capital letters\.': str.upper,
    r'Write "(.*)" in small letters\.': str.lower,
    r'Capitalize the first letter of each word in "(.*)"\.': lambda line: " ".join(
        word[0].upper() + word[1:] for word in line.split()
    ),
    r'Reverse the order of the words in "(.*)"\.': lambda line: " ".join(line.split()[::-1]),
    r'Replace the word "(.*)" with "(.*)" in "(.*)"\.': lambda old, new, line: re.sub(rf"\b{old}\b", new, line),
    r'Remove the word "(.*)" from "(.*)"\.': lambda old, line: " ".join(re.sub(rf"\b{old}\b", "", line).split()),
    r'Add the word "(.*)" at the end of "(.*)"\.': lambda new, line: line + " " + new,
    r'Join the words "(.*)" with hyphens\.': lambda line: line.replace(" ", "-"),
    r'What is the first word of "(.*)"\?': lambda line: line.partition(" ")[0],
    r'What is the last word of "(.*)"\?': lambda line: line.rpartition(" ")[2],
    r'Put the words "(\w+) (\w+)" in alphabetical order\.': lambda a, b: f"{a} {b}" if a < b else f"{b} {a}",
}
IRREGULAR = {
    "child": "children", "mouse": "mice", "foot": "feet", "tooth": "teeth", "goose": "geese", "man": "men",
    "woman": "women", "leaf": "leaves", "wolf": "wolves", "knife": "knives", "shelf": "shelves", "loaf": "loaves",
}  # fmt: skip


def plural(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if re.search(r"(s|x|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


class TestTasks:
    def test_end_in_their_answer_in_one_form_and_show_a_short_working(self) -> None:
        for row in every_task():
            working, answer = re.fullmatch(r"(.+) The answer is (.+)\.", completion_of(row)).groups()
            assert answer == row["answer"]
            assert "The answer is" not in working
            assert len(completion_of(row)) < 120

    @pytest.mark.parametrize("category", ["arithmetic", "unit_conversion", "text_edit", "simple_code"])
    def test_have_every_category_in_both_splits(self, category: str) -> None:
        splits = Counter(row["id"].split("-")[1] for row in tasks(category))
        assert splits["train"] >= 500
        assert splits["test"] >= 50

    @pytest.mark.parametrize("category", ["arithmetic", "unit_conversion", "simple_code"])
    def test_show_true_equations(self, category: str) -> None:
        operations = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__, "/": int.__floordiv__}
        checked = 0
        for row in tasks(category):
            for a, sign, b, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", completion_of(row)):
                assert operations[sign](int(a), int(b)) == int(result), completion_of(row)
                assert sign != "/" or int(a) % int(b) == 0
                checked += 1
        assert checked > 200

    def test_arithmetic_answers_are_right(self) -> None:
        used = Counter()
        for row in tasks("arithmetic"):
            fits = [(pattern, found) for pattern in PROBLEMS if (found := re.search(pattern, prompt_of(row)))]
            assert len(fits) == 1, prompt_of(row)
            pattern, found = fits[0]
            assert PROBLEMS[pattern](*map(int, found.groups())) == int(row["answer"]), prompt_of(row)
            assert int(row["answer"]) > 0
            used[pattern] += 1
        assert set(used) == set(PROBLEMS)

    def test_unit_conversions_are_right(self) -> None:
        wording = r"(?:Convert|Change) (\d+) (.+) (?:to|into) (.+)\.|How many (.+) are (\d+) (.+)\?"
        problems = Counter()
        for row in tasks("unit_conversion"):
            found = re.fullmatch(wording, prompt_of(row)).groups()
            count, source, target = found[:3] if found[0] else (found[4], found[5], found[3])
            sizes = next(sizes for sizes in IN_SMALLEST_UNIT.values() if source in sizes and target in sizes)
            total, left = divmod(int(count) * sizes[source], sizes[target])
            assert left == 0
            assert str(total) == row["answer"], prompt_of(row)
            problems[count, source, target] += 1
        # The same conversion in other words would be in training and in the test.
        assert set(problems.values()) == {1}

    def test_text_edits_are_right(self) -> None:
        used = Counter()
        for row in tasks("text_edit"):
            if found := re.fullmatch(r'Write the plural of "(\w+)"\.', prompt_of(row)):
                assert plural(found[1]) == row["answer"]
                continue
            fits = [(pattern, found) for pattern in EDITS if (found := re.fullmatch(pattern, prompt_of(row)))]
            assert len(fits) == 1, prompt_of(row)
            pattern, found = fits[0]
            assert EDITS[pattern](*found.groups()) == row["answer"], prompt_of(row)
            used[pattern] += 1
        assert set(used) == set(EDITS)

    def test_code_answers_are_what_python_prints(self) -> None:
        names = {"len": len, "max": max, "min": min, "sum": sum, "sorted": sorted}
        for row in tasks("simple_code"):
            expression = re.search(r"`print\((.+)\)`", prompt_of(row))[1]
            printed = str(eval(expression, {"__builtins__": {}}, names))
            assert printed == row["answer"], expression
