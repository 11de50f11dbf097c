"""The tables of docs/results.md."""

import json
import subprocess
import sys

import pytest
from runs_for_tests import made_comparison


@pytest.mark.slow
def test_differences_stand_beside_the_values(tmp_path, repository_root):
    folder = made_comparison(tmp_path)
    content = json.loads((folder / "comparison.json").read_text())
    content["methods"][2]["seeds"] = [0]
    for row in content["rows"]:
        likes = {"dualselect": {"value": 0.125, "low": -0.01, "high": 0.3}, "lisa": {"value": 1, "low": 1, "high": 1}}
        row["difference"] = likes.get(row["method"])
    (folder / "comparison.json").write_text(json.dumps(content))
    script = repository_root / "benchmarks" / "safety_utility" / "table.py"
    told = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, check=True).stdout
    values, differences, fewer = (part.splitlines() for part in told.split("\n\n| method")[1:])
    assert [line.split(" | ")[0] for line in values[2:5]] == ["| start", "| sft", "| dualselect"]
    assert differences[2] == "| dualselect | +12.5 [-1.0, +30.0] | +12.5 [-1.0, +30.0] |"
    assert "| lisa (1 seed)" in fewer[2]
