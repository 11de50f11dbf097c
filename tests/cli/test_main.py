"""The program itself: verbs, version, debugging."""

import errno
import importlib

import pytest

from dualselect.cli.main import VERBS, main
from dualselect.errors import ConfigError, DataError, GradientError


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


@pytest.mark.parametrize("words", [["version"], ["-V"]])
def test_version_in_other_words(words, capsys):
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("dualselect ")


def test_help_of_a_verb_in_other_words(capsys):
    assert main(["help", "report"]) == 0
    assert "dualselect report" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "--model", "x"], "--model_name_or_path"),
        (["train", "-m", "x"], "--model_name_or_path"),
        (["train", "--lr", "1e-4"], "--learning_rate"),
        (["train", "-lr=1e-4"], "--learning_rate"),
        (["train", "--Task-Data", "x"], "--task_data"),
        (["audit", "--lr", "1e-4"], "--learning_rate"),
        (["audit", "--scores", "loss"], "--score"),
        (["audit", "--fail-abov", "0.1"], "--fail_above"),
        (["diagnose", "--model", "x", "--output_dir", "y"], "--model_name_or_path"),
        (["diagnose", "-m", "x", "--output_dir", "y"], "--model_name_or_path"),
        (["diagnose", "--strategie", "static", "--output_dir", "y"], "--strategies"),
        (["evaluate", "-m", "x"], "--model"),
        (["evaluate", "--model", "x", "--suites", "builtin"], "--suite"),
        (["evaluate", "--model", "x", "--suite", "builtin", "--max-tokens", "9"], "--max_new_tokens"),
        (["compare", "--out", "x"], "--output_dir"),
        (["demo", "--output", "x"], "--output_dir"),
        (["report", "x", "--out", "y"], "--output"),
    ],
)
def test_every_verb_names_the_option_that_was_meant(words, meant, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: command line: ")
    assert told.endswith(f" Type {meant}\n") or f"did you mean {meant}?" in told
    assert told.count("\n") == 1


def test_an_option_that_is_given_twice_is_told(capsys):
    words = ["train", "--seed", "1", "--task_data", "a.jsonl", "--task_data", "b.jsonl", "--seed=2", "--lr", "1"]
    assert main(words[:-2]) == 2
    told = capsys.readouterr().err
    assert "warning: --seed is given 2 times: the last one counts\n" in told
    assert "warning: --task_data is given 2 times: the last one counts; several values are written behind one" in told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), 2),
        (DataError("x"), 2),
        (GradientError("not finite"), 1),
        (OSError("the disk is full"), 1),
        (OSError(errno.ENOSPC, "no space"), 1),
        (FileNotFoundError(errno.ENOENT, "no such file"), 2),
    ],
)
def test_the_status_tells_a_refusal_from_a_failure(monkeypatch, error, status):
    def fail(_):
        raise error

    monkeypatch.setattr("dualselect.cli.report.run", fail)
    assert main(["report", "x"]) == status


def test_the_statuses_are_explained(capsys):
    assert main(["--help"]) == 0
    assert "\nexit status:\n  0    done\n  1 " in capsys.readouterr().out
