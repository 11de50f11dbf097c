"""The benchmarks of time and memory run on a tiny model, and print their ratio last."""

import json
import os
import re
import subprocess
import sys

import pytest
from models_for_tests import saved_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    saved_model(folder)
    return str(folder)


def run(root, *command):
    environment = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}
    script = str(root / "benchmarks" / command[0])
    return subprocess.run(
        [sys.executable, script, *command[1:]], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize(
    ("name", "options", "last"),
    [
        pytest.param(
            "whole_run",
            "--rows 16 --pool 4 --length 12 --repeats 1",
            r"whole run / floor: (\d+\.\d+) \(bound 1.05\)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "packing", "--rows 40 --mean 12 --repeats 1", r"padded / packed: (\d+\.\d+)", marks=pytest.mark.slow
        ),
        pytest.param(
            "curves",
            "--steps 1 --points 2",
            r"largest ratio of a step to a step of TRL SFT: (\d+\.\d+)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "norms",
            "--repeats 1",
            r"share of shapes in which the rule is right: (\d+\.\d+)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "processes",
            "--steps 2 --length 12 --repeats 1",
            r"speed-up of two processes: (\d+\.\d+) \(bound 1.6\)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "memory",
            "--large_pool 128 --many_rows 16 --high_rank 8 --length 16",
            r"largest ratio: (\d+\.\d+) \(bound 1.05\)",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_ratio_is_printed_last_and_written(repository_root, tmp_path, model, name, options, last):
    done = run(repository_root, f"{name}.py", "--model", model, "--output", str(tmp_path), *options.split())
    assert done.returncode in (0, 1), done.stderr[-2000:]
    found = re.fullmatch(last, done.stdout.splitlines()[-1])
    assert found is not None, done.stdout + done.stderr[-2000:]
    written = json.loads((tmp_path / f"{name}.json").read_text())
    assert "CPU cores" in written["machine"]
    assert set(written["versions"]) == {"python", "dualselect", "torch", "transformers", "trl", "peft"}
    if name != "memory":
        assert written["ratio"] == pytest.approx(float(found[1]), abs=0.006)


@pytest.mark.slow  # half a minute
def test_the_gpu_file_is_resumable_and_tries_a_tiny_model_on_a_cpu(repository_root, tmp_path):
    command = ["gpu.py", "--models", "tiny", "--use_cpu", "--steps", "2", "--length", "32", "--output", str(tmp_path)]
    for part in ("sft", "recompute"):
        (tmp_path / f"tiny, {part}.json").write_text(
            '{"step_seconds": 1.0, "tokens_per_second": null, "refresh_seconds_per_reference": null, '
            '"peak_bytes": 1073741824}\n'
        )
    done = run(repository_root, *command)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "tiny, sft ..." not in done.stdout
    lines = done.stdout.splitlines()
    assert [line for line in lines if "recompute" in line] == [
        "tiny         recompute      step   1.000 s, 1.000 of TRL SFT, peak 1.0 GiB"
    ]
    assert re.search(r"packed +step .* tokens/s, refresh \d+ ms per reference", done.stdout)
    assert lines[-1].startswith("largest ratio of a step to a step of TRL SFT: ")
    assert json.loads((tmp_path / "tiny, device.json").read_text())["step_seconds"] > 0
