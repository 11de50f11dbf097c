"""The comparison of steps runs, with a tiny model."""

import os
import re
import subprocess
import sys

import pytest
from models_for_tests import saved_model


@pytest.mark.slow
def test_a_ratio_is_printed_last(repository_root, tmp_path):
    saved_model(tmp_path)
    script = repository_root / "benchmarks" / "step_overhead.py"
    command = [
        sys.executable,
        str(script),
        "--model",
        str(tmp_path),
        "--steps",
        "2",
        "--length",
        "16",
        "--all_supervised",
        "--output",
        str(tmp_path),
    ]
    environment = os.environ | {"PYTHONPATH": str(repository_root / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    assert re.fullmatch(r"ratio: \d+\.\d+ \(bound 1.05\)", done.stdout.splitlines()[-1])
