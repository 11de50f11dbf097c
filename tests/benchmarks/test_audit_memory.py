"""The memory of an audit does not grow with its rows."""

import json
import subprocess
import sys

import pytest


def peak_kib(root, rows):
    command = [sys.executable, str(root / "benchmarks" / "audit_memory.py"), "--one", str(rows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("measured "))
    return json.loads(line.removeprefix("measured "))["peak_kib"]


@pytest.mark.slow
def test_many_rows_take_the_memory_of_few(repository_root):
    few, many = peak_kib(repository_root, 1_000), peak_kib(repository_root, 10_000)
    assert many < 1.04 * few  # 9,000 rows held as text would be 5%, their numbers as objects 10%
