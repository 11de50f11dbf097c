"""Two commands in one folder: the second is refused before it reads a row or a model."""

import pytest
from locks_for_tests import lock_of_another_process

from dualselect.cli.main import main


TRAIN = "train --task_data builtin:task:8 --reference_data builtin:refusal:8 --use_cpu"
COMMANDS = {
    "train": TRAIN,
    "overwrite": f"{TRAIN} --overwrite",
    "resume": f"{TRAIN} --resume",
    "audit": "audit --task_data builtin:task:8 --use_cpu",
    "demo": "demo --no_browser",
    "diagnose": "diagnose --task_data builtin --reference_data builtin:refusal:140 --use_cpu "
    "--probe_data builtin:refusal[504:518]",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_is_refused_and_changes_nothing(tmp_path, capsys, command):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1")
    before = {path.name for path in (tmp_path / "run").iterdir()}
    with lock_of_another_process(tmp_path / "run"):
        assert main([*COMMANDS[command].split(), "--output_dir", str(tmp_path / "run")]) != 0
    told = capsys.readouterr().err
    assert f"{tmp_path / 'run'} is in use by another dualselect process" in told
    assert "--output_dir" in told
    assert {path.name for path in (tmp_path / "run").iterdir()} - before == {".dualselect.lock"}


def test_a_run_that_is_being_evaluated_is_not_deleted(tmp_path, capsys):
    run = tmp_path / "run"
    (run / "adapter").mkdir(parents=True)
    (run / "evaluation").mkdir()
    with lock_of_another_process(run / "evaluation"):
        assert main([*COMMANDS["overwrite"].split(), "--output_dir", str(run)]) != 0
    assert "being evaluated" in capsys.readouterr().err
    assert (run / "adapter").exists()
