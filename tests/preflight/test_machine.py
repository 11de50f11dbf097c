"""Versions, machine, and whether it is busy."""

import torch

from dualselect.preflight.machine import busy_warning, machine_lines, versions


def test_what_a_run_depends_on_is_named():
    assert versions()["torch"] == torch.__version__
    assert set(versions()) == {"python", "dualselect", "torch", "transformers", "trl", "peft"}
    assert machine_lines(torch.device("cpu"))[-1] == "device: cpu"


def test_more_work_than_cores_is_a_warning():
    assert busy_warning(2.4, 2) == ""
    assert busy_warning(4.0, 2).startswith("the machine is busy (load 4.0 on 2 cores)")
