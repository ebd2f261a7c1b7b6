"""FID of infinitely many generated images, extrapolated (Chong and Forsyth 2020, section 3).

FID's bias is linear in 1/n for n generated images against a fixed real side, and its slope differs
between models. The intercept of a line through the FIDs of several n is free of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics.intervals import Rows

SMALLEST = 5000
"""Images of the smallest subset; below it the law is not linear enough (their section 4)."""
NUM_SIZES = 15
"""Subsets, as in their code."""
FEWEST = 2 * SMALLEST
"""Images that it takes: of fewer 1/n hardly varies."""
ORDER_SEED = 0
"""Of the order whose first n images make the subset of n."""

FID_INFINITY_FORMULA = (
    "intercept of the least-squares line through (1/n, FID of the first n images of a random "
    "order) (Chong and Forsyth 2020), real side fixed"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """FID as a linear function of 1/n."""

    intercept: float
    """FID at infinitely many images."""
    slope: float
    """FID x images: how much a model of this kind is punished for few."""
    r2: float
    """Share of the variance of the FIDs that the line explains; 1 where they do not vary."""


def subset_sizes(count: int) -> tuple[int, ...]:
    """Sizes from 5,000 to `count`, evenly spaced; `count` is `FEWEST` or more."""
    assert count >= FEWEST, count
    return tuple(int(size) for size in np.linspace(SMALLEST, count, NUM_SIZES))


def subset_order(count: int) -> Rows:
    """The random order [count] of the images."""
    return np.random.default_rng(ORDER_SEED).permutation(count)


def fit_line(sizes: Sequence[int], distances: npt.ArrayLike) -> Line:
    """Through the distances [K] of K >= 2 different sizes, by least squares."""
    values = np.asarray(distances, np.float64)
    x = 1 / np.asarray(sizes, np.float64)
    x_off, off = x - x.mean(), values - values.mean()
    slope = float(x_off @ off / (x_off @ x_off))
    total = float(off @ off)
    left = off - slope * x_off
    return Line(
        intercept=float(values.mean() - slope * x.mean()),
        slope=slope,
        r2=1 - float(left @ left) / total if total > 0 else 1.0,
    )
