"""What to change to fit a memory: the least that suffices, and nothing where the peak fits."""

from dataclasses import replace

import pytest

from dualselect.preflight.fitting import MemoryParts, changes_to_fit
from dualselect.preflight.measuring import Measured
from dualselect.training.config import DualSelectConfig


GB = 10**9
# 10 GB in use, 16 rows of 0.1 GB gradients, 8 rows of 1 GB activations: 19.6 GB; a refresh of 8 of 0.5 GB: 14 GB
PARTS = MemoryParts(
    settled=10 * GB,
    rows=16,
    row_gradients=GB // 10,
    micro_batch=8,
    activations=8 * GB,
    reference_batch=8,
    reference_work=4 * GB,
)
CHECKPOINTED = replace(PARTS, activations=2 * GB)


def test_measured_peaks_are_taken_apart():
    config = DualSelectConfig(per_device_train_batch_size=8, gradient_accumulation_steps=2, reference_batch_size=4)
    measured = Measured(
        settled_memory=10 * GB, step_memory=int(19.6 * GB), refresh_memory=14 * GB, row_gradients=GB // 10
    )
    parts = MemoryParts.of(measured, config)
    assert parts == replace(PARTS, reference_batch=4)
    assert parts.step(16, 8) == measured.step_memory
    assert parts.refresh(4) == measured.refresh_memory
    assert "16 rows x 100.0 MB gradients + 8 rows x 1.0 GB activations = 19.6 GB" in parts.describe()[0]


def test_a_peak_that_cannot_hold_the_gradients_has_no_activations_made_up():
    measured = Measured(settled_memory=GB, step_memory=2 * GB, row_gradients=GB)
    parts = MemoryParts.of(measured, DualSelectConfig(per_device_train_batch_size=4))
    assert parts.activations == 0
    assert parts.step(4, 4) == 2 * GB


@pytest.mark.parametrize(
    ("memory", "changes"),
    [
        (20.0, ["nothing: the peak of 19.6 GB fits into 20.0 GB"]),
        (16.0, ["per_device_train_batch_size: 4, gradient_accumulation_steps: 4 "]),
        (
            13.0,
            ["per_device_train_batch_size: 1, gradient_accumulation_steps: 16 ", "reference_batch_size: 6: "],
        ),
        (
            12.2,
            [
                "gradient_storage: recompute, per_device_train_batch_size: 2, gradient_accumulation_steps: 8 ",
                "reference_batch_size: 4: ",
            ],
        ),
        (
            10.6,
            [
                "gradient_checkpointing: true, gradient_storage: recompute, per_device_train_batch_size: 2, ",
                "reference_batch_size: 1: ",
            ],
        ),
        (10.2, ["one row per step needs more than 10.2 GB", "a refresh in batches of one needs more than 10.2 GB"]),
        (9.0, ["10.0 GB are in use between two steps"]),
    ],
)
def test_changes(memory, changes):
    found = changes_to_fit(PARTS, int(memory * GB), CHECKPOINTED)
    assert len(found) == len(changes)
    for line, begin in zip(found, changes, strict=True):
        assert line.startswith(begin)


def test_a_suggested_change_fits_by_its_own_arithmetic():
    for memory in range(int(10.4 * GB), 20 * GB, GB // 7):
        for line in changes_to_fit(PARTS, memory, CHECKPOINTED):
            if " = " in line and "needs more" not in line:
                assert float(line.rsplit(" = ", 1)[1].split()[0]) <= memory / GB + 0.05


def test_gradients_that_are_kept_elsewhere_are_not_counted():
    parts = PARTS.without_gradients()
    assert parts.step(16, 8) == 18 * GB
    (line, _) = changes_to_fit(parts, int(10.6 * GB), None)
    assert line.startswith("one row per step needs more than 10.6 GB")


def test_without_a_measurement_of_checkpointing_it_is_not_suggested():
    assert not any("gradient_checkpointing" in line for line in changes_to_fit(PARTS, int(10.6 * GB), None))
