"""Mean and covariance in float64, built up batch by batch."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """The first two moments of `count` vectors of length d; immutable."""

    count: int
    """Number of vectors."""
    mean: Float64
    """[d]."""
    scatter: Float64
    """[d, d], sum of the outer products of the deviations from the mean."""

    @classmethod
    def empty(cls, dim: int) -> Self:
        """Of no vectors of length `dim`."""
        return cls(count=0, mean=np.zeros(dim), scatter=np.zeros((dim, dim)))

    @classmethod
    def of(cls, vectors: Features) -> Self:
        """Of vectors [N, d], of any float type, N >= 1."""
        vectors = vectors.astype(np.float64)
        mean = vectors.mean(axis=0)
        deviations = vectors - mean
        return cls(count=len(vectors), mean=mean, scatter=deviations.T @ deviations)

    def merged(self, other: Self) -> Self:
        """Of both sets together (Chan, Golub and LeVeque 1979, pairwise update)."""
        count = self.count + other.count
        if count == 0:
            return self
        shift = other.mean - self.mean
        return type(self)(
            count=count,
            mean=self.mean + shift * (other.count / count),
            scatter=self.scatter
            + other.scatter
            + np.outer(shift, shift) * (self.count * other.count / count),
        )

    @property
    def covariance(self) -> Float64:
        """[d, d], unbiased (divided by count - 1); raises ValueError for fewer than 2 vectors."""
        if self.count < 2:
            raise ValueError(f"{self.count} vectors have no covariance")
        return self.scatter / (self.count - 1)
