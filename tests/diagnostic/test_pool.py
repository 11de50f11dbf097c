"""Cosines of references to task directions."""

import torch

from dualselect.diagnostic.pool import cosine_table
from dualselect.gradients import cosines


def test_cosines_to_each_direction():
    torch.manual_seed(0)
    gradients, directions = torch.randn(4, 50), torch.randn(3, 50)
    gradients[2] = 0
    table = cosine_table(gradients, directions)
    assert table.shape == (3, 4)
    for row, direction in zip(table, directions, strict=True):
        torch.testing.assert_close(row, cosines(gradients, direction))
    assert (table[:, 2] == 0).all()
