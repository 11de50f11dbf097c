"""How sure a rate is."""

import math
from dataclasses import dataclass


Z_95 = 1.959963984540054
"""97.5% point of the standard normal distribution."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95% Wilson interval.

    Attributes:
        successes: How many did.
        count: Out of how many, 1 or more.
        low: Lower end, in [0, 1].
        high: Upper end, in [0, 1].
    """

    successes: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.successes / self.count


def rate(successes: int, count: int) -> Rate:
    """A share with its 95% Wilson score interval (Wilson 1927).

    Args:
        successes: How many did, 0 to `count`.
        count: Out of how many.

    Raises:
        ValueError: `count` is 0, or `successes` is not within it.
    """
    if not 0 <= successes <= count or count == 0:
        raise ValueError(f"{successes} of {count} is no rate: count at least one, and no more successes than that")
    share, z2 = successes / count, Z_95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z_95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return Rate(successes, count, max(0.0, center - half), min(1.0, center + half))
