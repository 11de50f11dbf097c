"""A training that is killed and resumed leaves what one that was never stopped leaves."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_kill_leaves_no_trace(repository_root):
    script = repository_root / "benchmarks" / "endurance.py"
    done = subprocess.run([sys.executable, script, "--kills", "1"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1" in done.stdout
