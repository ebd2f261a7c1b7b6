"""Frechet distances of many subsets and resamples of the same features, without their moments.

Each vector is projected by the real side's factor once; what a subset costs after that is a Gram
matrix and its eigenvalues.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.frechet import Normal, sum_of_roots
from pipeline.evaluation.metrics.intervals import Rows
from pipeline.evaluation.metrics.moments import Features, Float64

_CHUNK = 4096  # rows at a time


class ResampledFrechet:
    """Generated features against one real side."""

    def __init__(self, features: Features, real: Normal) -> None:
        """`features` [N, d], N >= 2; memory: N (d + r) float64 for a real factor of r rows."""
        centred = features.astype(np.float64)
        mean = centred.mean(axis=0)
        centred -= mean
        self._centred = centred
        self._shift = mean - real.mean
        self._real_trace = real.trace
        self._norms = np.einsum("nd,nd->n", centred, centred)
        self._projected = centred @ real.factor.T  # (N, r)
        few = len(features) <= len(real.factor)
        self._gram: Float64 | None = self._projected @ self._projected.T if few else None

    def all(self) -> float:
        """The distance of all N."""
        return self.prefixes(np.arange(len(self._centred)), [len(self._centred)])[0]

    def prefixes(self, rows: Rows, sizes: Sequence[int]) -> list[float]:
        """The distances of the first n of `rows` [M], which may repeat, for each n of `sizes`.

        `sizes` are at least 2 and ascend.
        """
        distances = []
        start, rank = 0, self._projected.shape[1]
        total, spread = np.zeros(self._centred.shape[1]), 0.0
        projected, products = np.zeros(rank), np.zeros((0, 0) if self._few else (rank, rank))
        for size in sizes:
            for begin in range(start, size, _CHUNK):
                part = rows[begin : min(begin + _CHUNK, size)]
                total += self._centred[part].sum(axis=0)
                spread += float(self._norms[part].sum())
                if not self._few:
                    vectors = self._projected[part]
                    projected += vectors.sum(axis=0)
                    products += vectors.T @ vectors
            start = size
            mean = total / size
            variance = (spread - size * float(mean @ mean)) / (size - 1)
            if self._gram is not None:
                overlap = _overlap_of_gram(self._gram, rows[:size])
            else:
                centre = projected / size
                overlap = sum_of_roots((products - size * np.outer(centre, centre)) / (size - 1))
            shift = self._shift + mean
            distances.append(float(shift @ shift) + variance + self._real_trace - 2 * overlap)
        return distances

    @property
    def _few(self) -> bool:
        return self._gram is not None


def _overlap_of_gram(gram: Float64, rows: Rows) -> float:
    chosen = gram[np.ix_(rows, rows)]
    means = chosen.mean(axis=0)
    chosen -= means
    chosen -= (means - means.mean())[:, None]
    return sum_of_roots(chosen / (len(rows) - 1))
