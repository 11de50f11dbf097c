"""The linear probe, against the textbook formula."""

import torch

from dualselect.selection import Probe
from dualselect.selection.probe import SHRINKAGE


def samples(seed=0, width=6, compliances=20, safe=30):
    generator = torch.Generator().manual_seed(seed)
    shift = torch.randn(width, generator=generator)
    return torch.randn(compliances, width, generator=generator) + shift, torch.randn(safe, width, generator=generator)


def test_the_probe_is_the_shrunk_linear_discriminant():
    compliances, safe = (values.double() for values in samples())
    covariance = (compliances.T.cov() + safe.T.cov()) / 2
    shrunk = covariance + SHRINKAGE * covariance.trace() / len(covariance) * torch.eye(len(covariance))
    wanted = torch.linalg.solve(shrunk, compliances.mean(0) - safe.mean(0))
    found = Probe.between(compliances, safe)
    torch.testing.assert_close(found.weights / found.weights.norm(), wanted / wanted.norm())


def test_the_means_of_the_two_classes_are_one_and_minus_one():
    compliances, safe = samples(width=200)  # more dimensions than samples
    found = Probe.between(compliances, safe)
    torch.testing.assert_close(found.scores(compliances).mean(), torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(found.scores(safe).mean(), torch.tensor(-1.0, dtype=torch.float64))


def test_it_does_not_depend_on_a_shift_or_a_scale_of_the_states():
    compliances, safe = samples()
    found, other = Probe.between(compliances, safe), Probe.between(3 * compliances + 7, 3 * safe + 7)
    torch.testing.assert_close(other.scores(3 * safe + 7), found.scores(safe))


def test_equal_means_and_single_samples_give_finite_scores():
    same = torch.ones(3, 4)
    assert Probe.between(same, same).scores(same).tolist() == [0.0, 0.0, 0.0]
    one = Probe.between(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert one.scores(torch.tensor([[1.0, 0.0], [0.0, 1.0]])).tolist() == [1.0, -1.0]
