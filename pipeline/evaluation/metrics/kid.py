"""Kernel inception distance (Binkowski et al. 2018), by torch-fidelity's function."""

import numpy as np
import torch

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.extractors.torchvision_import import (
    SHUFFLE_SEED,
    TORCH_FIDELITY_VERSION,
    import_torch_fidelity,
)
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.intervals import (
    BOOTSTRAP_SEED,
    Rows,
    around,
    deviation_of,
    resampled_rows,
)
from pipeline.evaluation.metrics.moments import Features, Float64

KID_FORMULA = (
    f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_kid.kid_features_to_metric, "
    "unbiased, kernel (x.y / d + 1)^3, features in float64"
)
KID_POOL = 10_000
"""Generated and real images, at most, whose kernel is resampled."""
_ROWS = 2000  # of a kernel at a time


def kid(generated: Features, real: Features, subsets: int, subset_size: int) -> tuple[float, float]:
    """Mean and standard deviation of KID over subsets of features [N, d] and [M, d].

    The kernel is cubic, the estimate unbiased. Each of `subsets` draws takes `subset_size` rows,
    2 <= subset_size <= min(N, M), of both.
    """
    metric_kid = import_torch_fidelity("metric_kid")
    result = metric_kid.kid_features_to_metric(
        torch.from_numpy(generated.astype(np.float64)),
        torch.from_numpy(real.astype(np.float64)),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        rng_seed=SHUFFLE_SEED,
        verbose=False,
    )
    return result[metric_kid.KEY_METRIC_KID_MEAN], result[metric_kid.KEY_METRIC_KID_STD]


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


def measure_kid(
    results: MetricResults, images: FeatureSet, real: Features, settings: EvaluateSection
) -> None:
    """Adds KID to the features [M, d] of real images."""
    features = images.statistics.features
    size = min(settings.kid_subset_size, len(features), len(real))
    mean, std = kid(features, real, settings.kid_subsets, size)
    interval = None
    if settings.bootstrap:
        deviation = kid_deviation(features, real, settings.bootstrap, settings.kid_subsets, std)
        pool = f" (of {KID_POOL:,} of them)" if len(features) > KID_POOL else ""
        how = (
            f"{settings.bootstrap} bootstrap replicates of {images.resampled}{pool} under all "
            "pairs and of the choice of the subsets; the real images fixed"
        )
        interval = around(mean, deviation, how)
    entry = {
        **images.entry,
        "num_real": len(real),
        "subsets": settings.kid_subsets,
        "subset_size": size,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": KID_FORMULA,
    }
    results.add(images.key("kid_mean"), mean, entry, interval)
    results.add(images.key("kid_std"), std, entry)
