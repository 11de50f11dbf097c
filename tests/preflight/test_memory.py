"""Peaks of memory: of a stretch of work, and not of what came before."""

import sys

import pytest
import torch

from dualselect.errors import ConfigError
from dualselect.preflight.memory import PeakMemory, memory_size


MEGABYTE = 10**6


@pytest.mark.parametrize(
    ("text", "size"),
    [("24GB", 24 * 10**9), ("800 MB", 800 * 10**6), ("1.5g", 1_500_000_000), ("16GiB", 16 * 2**30), ("5000", 5000)],
)
def test_sizes(text, size):
    assert memory_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "24XB", "-1GB", "iB", "3iB"])
def test_no_size(text):
    with pytest.raises(ConfigError, match="write a size such as 24GB"):
        memory_size(text)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system cannot forget an earlier peak")
def test_a_peak_is_of_the_work_since_the_last_one():
    meter = PeakMemory(torch.device("cpu"))
    before = meter.now()
    torch.ones(100 * MEGABYTE)  # 400 MB
    first = meter.take()
    torch.ones(25 * MEGABYTE)
    second = meter.take()
    assert before + 390 * MEGABYTE < first < before + 500 * MEGABYTE
    assert before + 90 * MEGABYTE < second < before + 250 * MEGABYTE
