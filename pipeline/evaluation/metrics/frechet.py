"""The Frechet distance of two normal distributions, in float64 and without a matrix square root.

The trace of (A B)^(1/2) for covariances A and B is the sum of the singular values of X Y^T for any
real factors X^T X = A and Y^T Y = B. A factor of the real images is computed once; a distance then
costs one congruence and the eigenvalues of one symmetric matrix.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg

from pipeline.evaluation.metrics.intervals import Rows
from pipeline.evaluation.metrics.moments import Features, Float64, Moments

FID_FORMULA = (
    "|mu_g - mu_r|^2 + tr(S_g + S_r) - 2 tr((S_g S_r)^(1/2)) (Heusel et al. 2017, equation 6) in "
    "float64, covariances of N - 1; the last trace by the eigenvalues of F S_g F^T, F^T F = S_r, "
    "or of a Gram matrix where there are fewer images than features"
)
_CHUNK = 4096  # rows at a time


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Normal:
    """A normal distribution fitted to `count` vectors of length d."""

    count: int
    """Number of vectors."""
    mean: Float64
    """[d]."""
    factor: Float64
    """[r, d], r <= d: factor^T factor is the covariance; upper triangular where r = d."""

    @classmethod
    def of_moments(cls, moments: Moments) -> Self:
        """Of 2 vectors or more; raises ValueError for fewer."""
        values, vectors = scipy.linalg.eigh(moments.covariance)  # ascending
        rank = min(moments.count - 1, len(values))  # what is beyond it is rounding
        values, vectors = values[-rank:].clip(min=0), vectors[:, -rank:]
        factor = np.ascontiguousarray((vectors * np.sqrt(values)).T)  # (r, d)
        return cls(count=moments.count, mean=moments.mean, factor=_triangular(factor))

    @classmethod
    def of_features(cls, features: Features) -> Self:
        """Of vectors [N, d], N >= 2, with no decomposition where N <= d."""
        count, dim = features.shape
        if count < 2:
            raise ValueError(f"{count} vectors have no covariance")
        if count > dim:
            return cls.of_moments(Moments.of(features))
        centred = features.astype(np.float64)
        mean = centred.mean(axis=0)
        centred -= mean
        centred *= (count - 1) ** -0.5
        return cls(count=count, mean=mean, factor=_triangular(centred))

    @property
    def trace(self) -> float:
        """Of the covariance."""
        return float(np.linalg.norm(self.factor)) ** 2


def frechet_distance(generated: Moments | Normal, real: Normal) -> float:
    """FID of 2 vectors or more; 0 for equal distributions.

    Moments serve where there are more vectors than dimensions, a `Normal` where there are fewer.
    """
    shift = generated.mean - real.mean
    if isinstance(generated, Moments):
        covariance = generated.covariance
        trace, overlap = float(np.trace(covariance)), _overlap(covariance, real.factor)
    else:
        trace = generated.trace
        overlap = nuclear_norm(generated.factor @ real.factor.T)  # (r_g, r_r)
    return float(shift @ shift) + trace + real.trace - 2 * overlap


def fid_of_moments(generated: Moments, real: Moments) -> float:
    """FID of two sets of vectors by their moments alone."""
    fitted = Normal.of_moments(real)
    few = generated.count <= len(generated.mean)
    return frechet_distance(Normal.of_moments(generated) if few else generated, fitted)


def nuclear_norm(matrix: Float64) -> float:
    """Sum of the singular values of [m, n], by the eigenvalues of the smaller Gram matrix."""
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    return sum_of_roots(gram)


def sum_of_roots(symmetric: Float64) -> float:
    """Sum of the square roots of the eigenvalues of a positive semidefinite matrix [n, n].

    The upper triangle alone is read, and may be overwritten.
    """
    values = scipy.linalg.eigvalsh(
        symmetric, lower=False, driver="ev", check_finite=False, overwrite_a=True
    )
    return float(np.sqrt(values.clip(min=0)).sum())


def _overlap(covariance: Float64, factor: Float64) -> float:
    """The trace of (covariance factor^T factor)^(1/2)."""
    rank, dim = factor.shape
    if rank < dim:
        return sum_of_roots(factor @ covariance @ factor.T)
    # LAPACK multiplies by a triangle from both sides in a quarter of the operations; the transpose
    # of the symmetric matrix is in its order.
    product, info = scipy.linalg.lapack.dsygst(covariance.T, factor, itype=2, lower=0)
    assert info == 0, info
    return sum_of_roots(product)


def _triangular(factor: Float64) -> Float64:
    """The same factor turned to an upper triangle where it is square, in LAPACK's order."""
    if factor.shape[0] < factor.shape[1]:
        return factor
    return np.asfortranarray(np.linalg.qr(factor, mode="r"))


class ResampledFrechet:
    """Frechet distances of many subsets and resamples of the same features, without their moments.

    Each vector is projected by the real factor once; what a subset costs after that is a Gram
    matrix and its eigenvalues.
    """

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
        total, squares = np.zeros(self._centred.shape[1]), 0.0
        projected, products = np.zeros(rank), np.zeros((0, 0) if self._few else (rank, rank))
        for size in sizes:
            for begin in range(start, size, _CHUNK):
                part = rows[begin : min(begin + _CHUNK, size)]
                total += self._centred[part].sum(axis=0)
                squares += float(self._norms[part].sum())
                if not self._few:
                    vectors = self._projected[part]
                    projected += vectors.sum(axis=0)
                    products += vectors.T @ vectors
            start = size
            mean = total / size
            variance = (squares - size * float(mean @ mean)) / (size - 1)
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
