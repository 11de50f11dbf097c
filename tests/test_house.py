"""The layout table in CONTRIBUTING: every package is in it, and packages import only from packages below them."""

import ast
import re

import pytest
import yaml


LONGEST_FILE = 400


@pytest.fixture(scope="module")
def package(repository_root):
    return repository_root / "src" / "dualselect"


@pytest.fixture(scope="module")
def rooms(repository_root):
    """The packages of the table, from what users touch down to errors."""
    text = (repository_root / "CONTRIBUTING.md").read_text("utf-8")
    house = text[text.index("## Layout") : text.index("### Where to add")]
    return re.findall(r"^\| `(\w+)(?:/|\.py)` \|", house, flags=re.MULTILINE)


def imported(file):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dualselect."):
            yield node.module.split(".")[1]


def test_every_room_is_on_the_map(package, rooms):
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == set(rooms)


def test_rooms_import_only_from_rooms_below(package, rooms):
    upward = [
        f"{file.relative_to(package)} imports {room}"
        for file in package.rglob("*.py")
        if file.name != "__init__.py" or file.parent != package
        for room in imported(file)
        if rooms.index(room) < rooms.index(file.relative_to(package).parts[0].removesuffix(".py"))
    ]
    assert upward == []


def test_no_file_is_too_long_to_read_at_once(package):
    long = {file.name for file in package.rglob("*.py") if len(file.read_text("utf-8").splitlines()) > LONGEST_FILE}
    assert long == set()


def test_the_citation_names_the_authors_of_the_paper(repository_root):
    citation = yaml.safe_load((repository_root / "CITATION.cff").read_text("utf-8"))
    (paper,) = citation["references"]
    names = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert names == ["Xinrui Chen", "Jianhao Zhang", "Ou Wu", "Di Gao"]
    assert citation["type"] == "software"
    assert citation["authors"]


def test_float64_is_made_on_the_cpu(package):
    """Apple's GPUs have no float64: numbers leave the device before they are widened."""
    widened = re.compile(r"\.double\(\)\s*(?:\.\w+\([^()]*\)\s*)*\.cpu\(\)|\.to\(torch\.float64\)[^\n]*\.cpu\(\)")
    assert [file.name for file in package.rglob("*.py") if widened.search(file.read_text("utf-8"))] == []
