"""The diagnose verb, in process and as a real process."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from models_for_tests import saved_model

from dualselect.cli.diagnose import settings_of
from dualselect.cli.main import main
from dualselect.data.source_rows import read_sources
from dualselect.diagnostic import read_diagnostic
from dualselect.diagnostic.settings import OPTIONS
from dualselect.errors import ConfigError


RESULTS = ("diagnostic.json", "overlap.csv", "categories.csv", "probes.csv", "diagnostic.svg")


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """What is typed for a small diagnostic, but for the output_dir."""
    folder = tmp_path_factory.mktemp("model")
    saved_model(folder, seed=3)
    return [
        "diagnose", "--model_name_or_path", str(folder), "--task_data", "sums=builtin:task:8", "talk=builtin:chat:8",
        "--group_by", "source", "--reference_data=builtin:refusal:20", "--probe_data", "builtin:refusal[400:403]",
        "--per_device_train_batch_size", "4", "--batches", "2", "--updates=1", "--selection-warmup-steps", "1",
        "--strategies", "dualselect", "--corrections", "none", "--use_cpu", "--max_length", "200", "--output_dir",
    ]  # fmt: skip


@pytest.mark.slow  # several processes
def test_killed_as_a_process_and_typed_again(words, tmp_path, capsys):
    with (tmp_path / "told").open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "dualselect.cli.main", *words, str(tmp_path / "cut")],
            stdout=subprocess.DEVNULL,
            stderr=told,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    store = tmp_path / "cut" / "measured.jsonl"
    while process.poll() is None and not (store.exists() and store.stat().st_size):
        time.sleep(0.002)  # the other process decides when there is something to kill
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "cut" / "diagnostic.json").exists()
    assert "Warm-up: 100%" in (tmp_path / "told").read_text()
    assert main([*words, str(tmp_path / "cut")]) == 0
    told = capsys.readouterr()
    assert "(a) " in told.out
    assert "held-out probes" in told.out
    assert f"In {tmp_path / 'cut'}: diagnostic.json" in told.out
    assert main([*words, str(tmp_path / "whole")]) == 0
    for name in RESULTS:
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    content = json.loads((tmp_path / "cut" / "diagnostic.json").read_text())
    assert {batch["group"] for batch in content["batches"]} == {"sums", "talk"}
    content["findings"][0] += " \x1b[31m of a group's name"
    (tmp_path / "cut" / "diagnostic.json").write_text(json.dumps(content))
    capsys.readouterr()
    assert main([*words, str(tmp_path / "cut")]) == 0
    assert "[U+001B][31m of a group's name" in capsys.readouterr().out


def test_the_example_is_a_diagnostic_that_could_start(repository_root):
    settings = read_diagnostic(str(repository_root / "examples" / "diagnose.yaml"), {})
    assert settings.options.batches == 4
    assert settings.run.training.reference_fraction == 0.1


def test_the_probes_of_the_example_are_one_of_each_category_and_no_text_of_the_pool(repository_root):
    settings = read_diagnostic(str(repository_root / "examples" / "diagnose.yaml"), {})
    pool = read_sources(settings.run.data.reference_data, "reference_data").dataset
    probes = read_sources(settings.options.probe_data, "probe_data").dataset
    assert sorted(probes["category"]) == sorted(set(pool["category"]))
    in_pool = [turns[-1]["content"] for turns in pool["completion"]]
    assert not [turns for turns in probes["completion"] if turns[-1]["content"] in in_pool]


def test_the_help_explains_every_option(capsys):
    assert main(["diagnose", "--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"--{name}" in told for name in OPTIONS)
    assert "dualselect train" in told


def test_settings_are_taken_apart():
    typed = ["--task_data", "a=b", "c", "--rho=0.5", "--use-cpu", "--sketch", "8"]
    assert settings_of(typed) == {"task_data": ["a=b", "c"], "rho": "0.5", "use_cpu": "true", "sketch": "8"}
    with pytest.raises(ConfigError, match="'runs' belongs to no setting"):
        settings_of(["runs", "--rho", "1"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output_dir", "x"], "probe_data is missing"),
        (["--probe_data", "builtin:refusal:4"], "output_dir is missing"),
        (["--config", "none.yaml"], "none.yaml does not exist"),
        (["--output_dir", "x", "--probe_data", "p", "--rhoo", "1"], "did you mean rho"),
        (["--output_dir", "x", "--probe_data", "p", "--updates", "0"], "updates is 0"),
        (["--output_dir", "x", "--probe_data", "p"], "task_data is missing"),
    ],
)
def test_errors_are_one_line_that_says_what_to_change(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["diagnose", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told
    assert "Traceback" not in told
    assert not list(tmp_path.iterdir())
