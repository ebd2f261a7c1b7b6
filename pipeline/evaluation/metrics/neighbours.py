"""Exact distances between two sets of features, block by block, in float64.

Of 50,000 x 50,000 distances no more than 256 MB are in memory at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics.moments import Features, Float64

FIXED_NEIGHBOURHOODS = "each image's neighbourhood fixed"
"""Condition of the intervals of shares and means over neighbourhoods."""
_BLOCK_ELEMENTS = 2**25
# Distances that are equal but for rounding count as equal: squares carry errors of this size,
# relative to the squared norms.
_TIE = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Neighbourhoods:
    """How n images lie among m real ones, each the centre of a ball."""

    nearest: Float64
    """[n], the distance to the nearest real image."""
    inside: npt.NDArray[np.int64]
    """[n], the number of balls that an image lies in."""
    covered: npt.NDArray[np.bool_]
    """[m], whether a ball holds an image."""


def kth_distances(features: Features, k: int) -> Float64:
    """[n], the distance of each of features [n, d] to its k-th nearest other one; n > k."""
    rows = _Points(features, features.mean(axis=0, dtype=np.float64))
    found = []
    for part, squares in rows.squares_to(rows):
        squares[np.arange(len(part)), part] = np.inf
        squares.partition(k - 1, axis=1)
        found.append(squares[:, k - 1].copy())  # a view would keep the block
    return np.sqrt(np.concatenate(found))


def neighbourhoods(features: Features, real: Features, radii: Float64) -> Neighbourhoods:
    """Of features [n, d] among real ones [m, d] with balls of `radii` [m], boundaries excluded."""
    centre = real.mean(axis=0, dtype=np.float64)
    ours, theirs = _Points(features, centre), _Points(real, centre)
    reach = radii**2 - _TIE * max(ours.norms.max(), theirs.norms.max())
    nearest, inside = np.empty(len(features)), np.empty(len(features), np.int64)
    covered = np.zeros(len(real), np.bool_)
    for part, squares in ours.squares_to(theirs):
        nearest[part] = squares.min(axis=1)
        hits = squares < reach
        inside[part] = hits.sum(axis=1)
        covered |= hits.any(axis=0)
    return Neighbourhoods(nearest=np.sqrt(nearest), inside=inside, covered=covered)


class _Points:
    """Features shifted to a common centre, since squares of large numbers lose small distances."""

    def __init__(self, features: Features, centre: Float64) -> None:
        self._shifted = features - centre  # [n, d] float64
        self.norms = np.einsum("nd,nd->n", self._shifted, self._shifted)

    def squares_to(self, others: "_Points") -> Iterator[tuple[npt.NDArray[np.int64], Float64]]:
        """Blocks of (rows, squared distances [rows, m]), which may be overwritten."""
        count = len(self.norms)
        step = max(1, _BLOCK_ELEMENTS // len(others.norms))
        for start in range(0, count, step):
            part = np.arange(start, min(start + step, count))
            squares = self._shifted[part] @ others._shifted.T
            squares *= -2
            squares += self.norms[part, None]
            squares += others.norms
            yield part, squares.clip(min=0, out=squares)
