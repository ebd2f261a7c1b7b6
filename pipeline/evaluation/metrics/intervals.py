"""95 % intervals: the bootstrap's standard deviation around the estimate.

The bootstrap's percentiles would not do: its Frechet distances are biased upward, so far that they
need not even contain the estimate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Z95 = 1.959963984540054  # of the standard normal distribution
BOOTSTRAP_SEED = 0

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where a number lies with 95 % confidence."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""
    how: str
    """What it stands on, for the protocol."""


def around(
    value: float,
    deviation: float,
    how: str,
    *,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> Interval:
    """1.96 standard deviations to both sides, within what the number can be."""
    reach = Z95 * deviation
    return Interval(
        low=max(lowest, value - reach),
        high=min(highest, value + reach),
        how=f"estimate +- 1.96 standard deviations of {how}",
    )


def around_share(share: float, count: int, resampled: str) -> Interval:
    """Of the share of `count` images; the bootstrap's, of infinitely many replicates."""
    deviation = (share * (1 - share) / count) ** 0.5
    return around(share, deviation, f"the bootstrap of {resampled}", lowest=0, highest=1)


def resampled_rows(count: int, replicates: int, stream: int = 0) -> Iterator[Rows]:
    """For each replicate `count` rows of as many, drawn with replacement.

    Always the same ones; other streams are independent.
    """
    for replicate in range(replicates):
        random = np.random.default_rng((BOOTSTRAP_SEED, stream, replicate))
        yield random.integers(count, size=count)


def deviation_of(values: npt.ArrayLike) -> float:
    """Standard deviation (of N - 1) over the replicates [R]; R >= 2."""
    return float(np.std(np.asarray(values, np.float64), ddof=1))


def deviation_of_mean(values: npt.ArrayLike) -> float:
    """The bootstrap's standard deviation of the mean of [N], of infinitely many replicates."""
    array = np.asarray(values, np.float64)
    return float(array.std() / np.sqrt(array.size))
