"""The calibrated filter."""

import math

import torch

from dualselect.selection import ConflictFilter, Probe


KINDS = ["chat"] * 100 + ["task"] * 100
PROBE = Probe(torch.zeros(2, dtype=torch.float64), 0.0)


def numbers(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(200, generator=generator).double(), torch.randn(200, generator=generator).double() - 1


def test_either_sign_of_conflict_is_enough():
    found = ConflictFilter.calibrated(PROBE, *numbers(), KINDS)
    threshold = found.threshold(0.02)
    rows = found.conflicts(torch.tensor([-0.6, 0.0, 0.0]), torch.tensor([-1.0, 6.0, -1.0]))
    assert (rows > threshold).tolist() == [True, True, False]


def test_scores_are_in_standard_deviations_of_harmless_rows():
    cosines, probed = numbers()
    found = ConflictFilter.calibrated(PROBE, cosines, probed, KINDS)
    one_off = found.conflicts(-(-cosines.mean() + cosines.std(correction=0))[None], torch.tensor([-1e9]))
    torch.testing.assert_close(one_off, torch.ones(1, dtype=torch.float64))


def test_harmless_rows_are_dropped_at_the_rate_that_was_asked_for():
    found = ConflictFilter.calibrated(PROBE, *numbers(), KINDS)
    fresh = found.conflicts(*numbers(seed=1))
    assert (fresh > found.threshold(0.05)).double().mean() <= 0.08
    assert found.harmless.p_values(fresh).min() > 0


def test_without_a_probe_the_cosine_decides():
    cosines, probed = numbers()
    found = ConflictFilter.calibrated(None, cosines, probed, KINDS)
    order = found.conflicts(cosines, probed).argsort()
    assert torch.equal(order, (-cosines).argsort())


def test_rows_that_are_not_finite_do_not_calibrate():
    cosines, probed = numbers()
    cosines[3] = math.nan
    found = ConflictFilter.calibrated(PROBE, cosines, probed, KINDS)
    assert sum(len(scores) for scores in found.harmless.by_kind.values()) == 199
    assert math.isfinite(found.threshold(0.02))


def test_what_is_stored_is_read_back():
    for probe in (PROBE, None):
        found = ConflictFilter.calibrated(probe, *numbers(), KINDS)
        tensors, values = found.as_values()
        again = ConflictFilter.of_values({**tensors, "other": torch.zeros(1)}, values)
        fresh = numbers(seed=1)
        assert torch.equal(again.conflicts(*fresh), found.conflicts(*fresh))
        assert again.threshold(0.02) == found.threshold(0.02)
