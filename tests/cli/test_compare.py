"""The compare verb, in process; `tests/comparison` kills it."""

import json

import pytest
import yaml
from models_for_tests import saved_model

from dualselect.cli.main import main
from dualselect.comparison import read_comparison, run_queue
from dualselect.methods import METHODS


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setattr(run_queue, "START_METHOD", "fork")
    saved_model(tmp_path / "model")
    content = {
        "model_name_or_path": str(tmp_path / "model"),
        "task_data": ["builtin:task:8"],
        "reference_data": ["builtin:refusal:4"],
        "use_cpu": True,
        "max_length": 160,
        "methods": ["sft", "safe_mix"],
        "evaluation": {"suites": ["builtin:2"], "max_new_tokens": 3},
    }
    path = tmp_path / "compare.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_it_prints_the_table_and_leaves_the_files(config, tmp_path, capsys):
    assert main(["compare", "--config", str(config), "--output_dir", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "sft, seed 0 (2 runs left" in printed
    assert "warning: there is little safety to keep: 0 of " in printed
    assert any(line.startswith("safe_mix") and "x" in line for line in printed.splitlines())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison.json", "comparison.csv", "pareto.svg", "runs"} <= names
    rows = json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]
    lines = (tmp_path / "out" / "comparison.csv").read_text().splitlines()
    assert len(lines) == len(rows) + 1


def test_a_failed_run_is_told_and_the_status_says_so(config, tmp_path, capsys):
    config.write_text(config.read_text().replace("safe_mix", "oracle"))
    assert main(["compare", "--config", str(config), "--output_dir", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out
    assert "oracle, seed 0: failed: oracle removes the task rows" in printed


def test_mistakes_end_with_status_2(config, capsys):
    assert main(["compare"]) == 2
    assert main(["compare", "--config", str(config)]) == 2
    assert main(["compare", "--config", "nothing.yaml", "--output_dir", "x"]) == 2
    told = capsys.readouterr().err
    assert "config is missing" in told
    assert "output_dir is missing" in told
    assert "does not exist" in told


def test_methods_are_listed_with_what_they_need(capsys):
    assert main(["compare", "--methods"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n{name}\n" in f"\n{printed}" for name in METHODS)
    assert "needs reference logits, safe pool" in printed
    assert "memory_size: 8" in printed


def test_the_files_that_are_shipped_can_be_read(repository_root, tmp_path):
    benchmarks = (repository_root / "benchmarks" / "safety_utility").glob("*.yaml")
    files = [path for path in benchmarks if path.name not in ("paper_run.yaml", "shares.yaml")]  # other settings
    assert len(files) == 4
    files.append(repository_root / "examples" / "compare.yaml")
    for path in files:
        config = read_comparison(path, str(tmp_path))
        assert "dualselect" in {entry.name for entry in config.entries}
