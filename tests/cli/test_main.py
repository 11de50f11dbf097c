"""The program itself: verbs, version, debugging."""

import importlib

import pytest

from dualselect.cli.main import VERBS, main


def test_without_a_verb_the_usage_is_shown(capsys):
    assert main([]) == 2
    told = capsys.readouterr().out
    assert all(verb in told for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_module_that_runs_and_a_help(verb, capsys):
    assert callable(importlib.import_module(f"dualselect.cli.{verb}").run)
    assert main([verb, "--help"]) == 0
    assert f"dualselect {verb}" in capsys.readouterr().out


def test_an_unknown_verb_names_the_nearest(capsys):
    assert main(["trainn"]) == 2
    assert capsys.readouterr().err == "error: trainn is not a verb; did you mean train?\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dualselect ")


def test_a_traceback_only_when_asked_for(capsys, monkeypatch):
    wrong = ["train", "--config", "none.yaml"]
    assert main(wrong) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--debug", *wrong]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("DUALSELECT_DEBUG", "1")
    assert main(wrong) == 2
    assert "Traceback" in capsys.readouterr().err
