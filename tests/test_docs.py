"""The map from equations to code names functions and tests that exist."""

import importlib
import re

import pytest


@pytest.fixture
def table(repository_root):
    text = (repository_root / "docs" / "method.md").read_text("utf-8")
    return [line for line in text.splitlines() if line.startswith("| ") and "`" in line]


def test_every_function_exists(table):
    for line in table:
        for name in re.findall(r"`([a-z_]+(?:\.\w+)+)`", line.split("|")[3]):
            module, *rest = name.split(".")
            found = importlib.import_module(f"dualselect.{module}")
            for part in rest:
                if not hasattr(found, part):
                    found = importlib.import_module(f"{found.__name__}.{part}")
                else:
                    found = getattr(found, part)


def test_every_test_exists(table, repository_root):
    for line in table:
        for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?", line.split("|")[4]):
            text = (repository_root / file).read_text("utf-8")
            assert not name or f"def {name}" in text, name
