"""The accuracy that the judge states is the one that is measured, where the labels are there."""

import subprocess
import sys

import pytest

from dualselect.judges.refusal import RefusalJudge


def test_the_stated_accuracy_is_measured(repository_root, shared_data):
    labels = shared_data / "data" / "safety" / "xstest_human_labels.jsonl"
    if not labels.is_file():
        pytest.skip(f"there are no labels in {labels}")
    script = repository_root / "benchmarks" / "judge_accuracy.py"
    done = subprocess.run([sys.executable, script, labels], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    (found, yes), (right, no) = RefusalJudge.accuracy.sensitivity, RefusalJudge.accuracy.specificity
    assert f"refusals found {found} of {yes}" in lines[-2]
    assert f"others {right} of {no}" in lines[-2]
    assert lines[-1].startswith(f"balanced accuracy on even ids: {RefusalJudge.accuracy.balanced:.3f}")
