import torch

from dualselect.selection import reference_scores, task_scores


LOSSES, COSINES = torch.tensor([1.0, 2.0, 0.5]), torch.tensor([-1.0, 0.5, 0.0])


def test_a_reference_scores_high_when_badly_preserved_and_in_conflict():
    assert reference_scores(LOSSES, COSINES).tolist() == [2.0, 1.5, 0.5]
    assert reference_scores(LOSSES, COSINES, loss_weight=0.0, conflict_weight=2.0).tolist() == [2.0, -1.0, 0.0]


def test_a_task_example_scores_low_when_learnable_and_compatible():
    assert task_scores(LOSSES, COSINES).tolist() == [2.0, 1.5, 0.5]
    assert task_scores(LOSSES, COSINES, loss_weight=2.0, conflict_weight=0.0).tolist() == [2.0, 4.0, 1.0]
