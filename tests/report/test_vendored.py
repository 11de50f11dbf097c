"""The table library in this repository is the one that is published, and it has its licence next to it."""

import hashlib
import json
from importlib import resources


def test_vendored_files_are_what_they_are_said_to_be():
    folder = resources.files("dualselect.report") / "vendor"
    known = json.loads((folder / "versions.json").read_text())
    named = {name: digest for library in known.values() for name, digest in library["sha256"].items()}
    assert {file.name for file in folder.iterdir()} == {*named, "versions.json"}
    for name, digest in named.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    version = known["tabulator-tables"]["version"]
    assert (folder / "tabulator.min.js").read_text(encoding="utf-8").startswith(f"/* Tabulator v{version} ")
