"""`dualselect report`."""

import importlib.util

import pytest
from runs_for_tests import made_evaluation, made_run

from dualselect.cli.main import main


def test_a_run_gets_its_page(tmp_path, capsys):
    run = made_evaluation(made_run(tmp_path / "run"))
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert f"the page: {run / 'report.html'}" in capsys.readouterr().out


def test_several_runs_need_a_place_for_the_page(tmp_path, capsys):
    runs = [str(made_run(tmp_path / name)) for name in "ab"]
    assert main(["report", *runs]) == 2
    assert "say where with --output" in capsys.readouterr().err
    assert main(["report", *runs, "--output", str(tmp_path)]) == 2
    assert "is a folder: name a file" in capsys.readouterr().err
    assert main(["report", *runs, "--output", str(tmp_path / "new" / "both.html")]) == 0
    assert (tmp_path / "new" / "both.html").exists()


def test_what_cannot_be_shown_is_said(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "neither a run nor a comparison" in capsys.readouterr().err


def test_missing_packages_name_the_extra(tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jinja2" else found(name))
    assert main(["report", str(made_run(tmp_path / "run"))]) == 2
    assert "pip install 'dualselect[report]'" in capsys.readouterr().err


@pytest.mark.parametrize("parts", [("selection",), ("metrics",), ("selection", "metrics"), ("evaluation",)])
def test_a_run_with_a_part_missing_has_a_page_all_the_same(tmp_path, parts):
    run = made_evaluation(made_run(tmp_path / "run"))
    for part in parts:
        if part == "evaluation":
            (run / "evaluation" / "builtin.json").unlink()
        else:
            (run / f"{part}.jsonl").unlink()
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert ("Nothing has been measured yet" in text) == ("evaluation" in parts)
    assert ("What was selected" in text) == ("selection" not in parts)
