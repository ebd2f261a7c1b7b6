"""The bootstrap's standard deviations of IS and KID, without computing either anew each time."""

from itertools import pairwise

import numpy as np
from scipy.special import log_softmax, xlogy

from pipeline.evaluation.metrics.intervals import (
    BOOTSTRAP_SEED,
    Rows,
    deviation_of,
    resampled_rows,
)
from pipeline.evaluation.metrics.moments import Features, Float64

KID_POOL = 10_000
"""Generated and real images, at most, whose kernel is resampled."""
_ROWS = 2000  # of a kernel at a time


def inception_score_deviation(logits: Features, splits: int, replicates: int) -> float:
    """Of the mean over `splits` splits of resampled logits [N, k], replicates >= 2.

    The score of a split needs the mean probabilities and the mean negative entropy alone, which
    are weighted sums over the images.
    """
    count = len(logits)
    log_p = log_softmax(logits.astype(np.float64), axis=1)
    p = np.exp(log_p)
    negentropies = np.einsum("nk,nk->n", p, log_p)
    bounds = np.arange(splits + 1) * count // splits
    scores = []
    for rows in resampled_rows(count, replicates):
        weights = np.zeros((splits, count))
        for split, (start, end) in enumerate(pairwise(bounds)):
            weights[split] = np.bincount(rows[start:end], minlength=count) / (end - start)
        marginal = weights @ p  # (splits, k)
        divergence = weights @ negentropies - xlogy(marginal, marginal).sum(axis=1)
        scores.append(np.exp(divergence).mean())
    return deviation_of(scores)


def kid_deviation(
    generated: Features, real: Features, replicates: int, subsets: int, subset_deviation: float
) -> float:
    """Of KID's mean over `subsets` random subsets of features [N, d] and [M, d]; replicates >= 2.

    The generated images are resampled under the unbiased estimate of all pairs. What the choice
    of the subsets adds, `subset_deviation` / sqrt(subsets), is independent of it. Of more than
    `KID_POOL` images as many are taken; the deviation is in 1 / sqrt(N).
    """
    pool = _pool(generated, 0)
    kernel_gg = _Kernel(pool, pool)
    to_real = _Kernel(pool, _pool(real, 1)).row_means()
    count = len(pool)
    rows = list(resampled_rows(count, replicates))
    weights = np.stack([np.bincount(each, minlength=count) for each in rows]).astype(np.float64)
    pairs, diagonal = kernel_gg.quadratic_forms(weights)
    within = (pairs - weights @ diagonal) / (count * (count - 1))
    between = weights @ to_real / count
    sampling = deviation_of(within - 2 * between) * np.sqrt(count / len(generated))
    return float(np.hypot(sampling, subset_deviation / np.sqrt(subsets)))


class _Kernel:
    """KID's kernel (x.y / d + 1)^3 between [n, d] and [m, d], some rows at a time."""

    def __init__(self, x: Float64, y: Float64) -> None:
        self._x, self._y = x, y

    def row_means(self) -> Float64:
        """[n]."""
        starts = range(0, len(self._x), _ROWS)
        return np.concatenate([self._rows(start).mean(axis=1) for start in starts])

    def quadratic_forms(self, weights: Float64) -> tuple[Float64, Float64]:
        """w^T K w of each of weights [B, n], and the diagonal [n]; x and y are the same."""
        forms, diagonal = np.zeros(len(weights)), np.empty(len(self._x))
        for start in range(0, len(self._x), _ROWS):
            block = self._rows(start)  # (rows, n)
            part = slice(start, start + len(block))
            forms += np.einsum("bn,bn->b", weights[:, part] @ block, weights)
            diagonal[part] = np.diagonal(block, offset=start)
        return forms, diagonal

    def _rows(self, start: int) -> Float64:
        product = self._x[start : start + _ROWS] @ self._y.T
        return (product / self._x.shape[1] + 1) ** 3


def _pool(features: Features, stream: int) -> Float64:
    if len(features) <= KID_POOL:
        return features.astype(np.float64)
    random = np.random.default_rng((BOOTSTRAP_SEED, stream))
    chosen: Rows = np.sort(random.choice(len(features), KID_POOL, replace=False))
    return features[chosen].astype(np.float64)
