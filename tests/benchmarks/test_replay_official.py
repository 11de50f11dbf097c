"""The proof against the recorded runs of the paper's authors, where the recordings are there."""

import json
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def recorded(shared_data):
    folder = shared_data / "golden" / "hard"
    if not folder.is_dir():
        pytest.skip(f"there is no recorded run in {folder}")
    return folder


def replay(repository_root, *folders):
    command = [sys.executable, str(repository_root / "benchmarks" / "replay_official.py"), *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_recorded_run_is_repeated(repository_root, recorded):
    done = replay(repository_root, recorded)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mismatched choices: 0 of 18" in done.stdout


@pytest.mark.slow
def test_another_setting_is_noticed(repository_root, recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "hard")
    shutil.copytree(recorded.parent / "tiny-llama", tmp_path / "tiny-llama")
    settings = tmp_path / "hard" / "settings.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"correction_eta": 0.4}))
    done = replay(repository_root, tmp_path / "hard")
    assert done.returncode == 1
    assert "DIFFERENT" in done.stdout
