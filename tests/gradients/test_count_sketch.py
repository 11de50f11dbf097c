"""Sketched dot products against exact ones."""

import torch

from dualselect.gradients import CountSketch


def test_a_sketch_is_linear_seeded_and_off_by_about_one_over_the_root_of_its_size():
    torch.manual_seed(1)
    first, second = torch.randn(2, 40, 20_000)
    first += 0.5 * second
    exact = torch.nn.functional.cosine_similarity(first, second)
    for buckets in (256, 4096):
        sketch = CountSketch(20_000, buckets, seed=7, device=torch.device("cpu"))
        torch.testing.assert_close(
            sketch(first + 2 * second), sketch(first) + 2 * sketch(second), rtol=1e-4, atol=1e-3
        )
        errors = torch.nn.functional.cosine_similarity(sketch(first), sketch(second)) - exact
        assert 0.3 < errors.std() * buckets**0.5 < 1.6
        assert abs(errors.mean()) < 4 * errors.std() / 40**0.5
        again = CountSketch(20_000, buckets, seed=7, device=torch.device("cpu"))
        assert torch.equal(sketch(first), again(first))
        other = CountSketch(20_000, buckets, seed=8, device=torch.device("cpu"))
        assert not torch.equal(sketch(first), other(first))
