import pytest

from dualselect.evaluation import rate


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_published_wilson_intervals(successes, count, low, high):
    """Newcombe 1998, table I (81 of 263), and the closed form n / (n + z^2) at the ends."""
    found = rate(successes, count)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_holds_the_rate_and_shrinks():
    few, many = rate(3, 10), rate(300, 1000)
    assert few.low < few.value < few.high
    assert many.high - many.low < few.high - few.low


@pytest.mark.parametrize(("successes", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_no_rate(successes, count):
    with pytest.raises(ValueError, match="is no rate"):
        rate(successes, count)
