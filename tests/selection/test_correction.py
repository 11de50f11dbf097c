import pytest
import torch

from dualselect.selection.correction import corrected


TASK, REFERENCE = torch.tensor([1.0, -2.0, 0.0]), torch.tensor([0.0, 3.0, 4.0])


def test_add():
    assert corrected(TASK, REFERENCE, mode="add", rho=0.5).tolist() == [1.0, -0.5, 2.0]


def test_relative_rho_does_not_depend_on_the_length_of_the_reference_direction():
    found = corrected(TASK, REFERENCE, mode="add", rho=0.5, rho_mode="relative")
    scaled = corrected(TASK, 100 * REFERENCE, mode="add", rho=0.5, rho_mode="relative")
    torch.testing.assert_close(found, scaled)
    assert (found - TASK).norm() == pytest.approx(0.5 * TASK.norm())


def test_project_removes_only_what_opposes():
    found = corrected(TASK, REFERENCE, mode="project", rho=0.5)
    assert float(found @ REFERENCE) == pytest.approx(0.0, abs=1e-6)
    agreeing = torch.tensor([1.0, 2.0, 0.0])
    assert torch.equal(corrected(agreeing, REFERENCE, mode="project", rho=0.5), agreeing)


def test_project_add_is_both():
    projected = corrected(TASK, REFERENCE, mode="project", rho=0.5)
    found = corrected(TASK, REFERENCE, mode="project_add", rho=0.5)
    torch.testing.assert_close(found, projected + 0.5 * REFERENCE)


@pytest.mark.parametrize("mode", ["add", "project", "project_add"])
@pytest.mark.parametrize("rho_mode", ["absolute", "relative"])
def test_a_zero_direction_or_a_zero_task_gradient_gives_no_nan(mode, rho_mode):
    assert torch.equal(corrected(TASK, torch.zeros(3), mode=mode, rho=0.5, rho_mode=rho_mode), TASK)
    assert torch.isfinite(corrected(torch.zeros(3), REFERENCE, mode=mode, rho=0.5, rho_mode=rho_mode)).all()


def test_none():
    assert torch.equal(corrected(TASK, REFERENCE, mode="none", rho=0.5), TASK)
