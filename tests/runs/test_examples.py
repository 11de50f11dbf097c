"""The examples: they come with the package, and the command that names one works without a checkout."""

import tomllib

import pytest

from dualselect.errors import ConfigError
from dualselect.runs import config_file
from dualselect.runs.config_file import read_mapping


def test_an_example_is_found_from_everywhere(tmp_path, monkeypatch, repository_root):
    build = tomllib.loads((repository_root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"] == {"examples": "dualselect/examples"}
    monkeypatch.setattr(config_file, "PACKAGE", repository_root)  # what the wheel makes of dualselect/
    monkeypatch.chdir(tmp_path)
    assert "methods" in read_mapping(config_file.Path("examples/compare.yaml"))
    with pytest.raises(ConfigError, match="does not exist"):
        read_mapping(config_file.Path("examples/none.yaml"))


def test_an_own_file_of_the_name_wins(tmp_path, monkeypatch, repository_root):
    monkeypatch.setattr(config_file, "PACKAGE", repository_root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "compare.yaml").write_text("mine: 1")
    assert read_mapping(config_file.Path("examples/compare.yaml")) == {"mine": 1}
