"""The benchmark of the plan, on a tiny model and a run of seconds."""

import json
import subprocess
import sys

import pytest
from models_for_tests import saved_model


@pytest.mark.slow
def test_it_plans_runs_and_compares(tmp_path, repository_root):
    saved_model(tmp_path / "model")
    config = repository_root / "examples" / "smollm2_cpu.yaml"
    more = "--reference_data builtin:refusal:20 --per_device_train_batch_size 2 --use_cpu true --disable_tqdm true"
    options = ["--config", config, "--model_name_or_path", tmp_path / "model", "--minutes", "0.15"]
    done = subprocess.run(
        [
            sys.executable,
            repository_root / "benchmarks" / "plan_accuracy.py",
            *options,
            *("--output", tmp_path / "result.json"),
            *more.split(),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert done.stdout.splitlines()[-1].startswith(f"predicted / measured duration: {result['ratio']:.2f}")
    # other processes run beside the tests
    assert 1 / 3 < result["ratio"] < 3
    assert 1 / 2 < result["memory_ratio"] < 2
    assert result["planned"]["steps"] == result["steps"] >= 10
