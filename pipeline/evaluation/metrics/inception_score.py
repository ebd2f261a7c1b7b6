"""Inception score (Salimans et al. 2016), by torch-fidelity's function."""

from itertools import pairwise

import numpy as np
import torch
from scipy.special import log_softmax, xlogy

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.extractors.torchvision_import import (
    SHUFFLE_SEED,
    TORCH_FIDELITY_VERSION,
    import_torch_fidelity,
)
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.intervals import around, deviation_of, resampled_rows
from pipeline.evaluation.metrics.moments import Features

IS_FORMULA = f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_isc.isc_features_to_metric"


def inception_score(logits: Features, splits: int) -> tuple[float, float]:
    """Mean and standard deviation of IS over `splits` <= N parts of the shuffled logits [N, k]."""
    metric_isc = import_torch_fidelity("metric_isc")
    result = metric_isc.isc_features_to_metric(
        torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=SHUFFLE_SEED
    )
    return result[metric_isc.KEY_METRIC_ISC_MEAN], result[metric_isc.KEY_METRIC_ISC_STD]


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


def measure_inception_score(
    results: MetricResults,
    images: FeatureSet,
    logits: Features,
    splits: int,
    settings: EvaluateSection,
    formula: str = IS_FORMULA,
) -> None:
    """Adds IS of logits [N, k] where the extractor has classes, k > 1."""
    count, num_classes = logits.shape
    if num_classes < 2:
        return
    mean, std = inception_score(logits, splits)
    interval = None
    if settings.bootstrap:
        deviation = inception_score_deviation(logits, splits, settings.bootstrap)
        how = f"{settings.bootstrap} bootstrap replicates of {images.resampled}"
        interval = around(mean, deviation, how, lowest=1)
    entry = {
        **images.entry,
        "splits": splits,
        "images_per_split": count // splits,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": formula,
    }
    results.add(images.key("is_mean"), mean, entry, interval)
    results.add(images.key("is_std"), std, entry)


def real_splits(num_real: int, settings: EvaluateSection) -> int:
    """Splits of the real-data IS, whose sizes are near those of the generated images."""
    per_split = max(1, settings.num_samples // settings.is_splits)
    return min(settings.is_splits, max(1, round(num_real / per_split)))
