"""FID, and FID of infinitely many generated images, extrapolated.

FID's bias is linear in 1/n for n generated images against fixed real images, and its slope differs
between models. The intercept of a line through the FIDs of several n is free of it (Chong and
Forsyth 2020, section 3).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.features import FeatureSet, FeatureStatistics
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.frechet import (
    FID_FORMULA,
    Normal,
    ResampledFrechet,
    frechet_distance,
)
from pipeline.evaluation.metrics.intervals import Rows, around, deviation_of, resampled_rows

SMALLEST = 5000
"""Images of the smallest subset; below it the law is not linear enough (their section 4)."""
NUM_SIZES = 15
"""Subsets, as in their code."""
FEWEST = 2 * SMALLEST
"""Images that it takes: of fewer 1/n hardly varies."""
MAX_MATCHED_SETS = 10
ORDER_SEED = 0
"""Of the order whose first n images make the subset of n."""

FID_INFINITY_FORMULA = (
    "intercept of the least-squares line through (1/n, FID of the first n images of a random "
    "order) (Chong and Forsyth 2020), real images fixed"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """FID as a linear function of 1/n."""

    intercept: float
    """FID at infinitely many images."""
    slope: float
    """FID x images: how fast the bias grows with 1/n."""
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


def fit_normal(images: FeatureStatistics) -> Normal:
    """The normal distribution of 2 images or more."""
    is_complete = len(images.features) == images.moments.count
    if is_complete and images.moments.count <= len(images.moments.mean):
        return Normal.of_features(images.features)
    return Normal.of_moments(images.moments)


def fid(images: FeatureStatistics, real: Normal) -> float:
    """FID of 2 images or more."""
    few = images.moments.count <= len(images.moments.mean)
    return frechet_distance(fit_normal(images) if few else images.moments, real)


def measure_fid(
    results: MetricResults, images: FeatureSet, real: Normal, settings: EvaluateSection
) -> None:
    """Adds FID and, of 10,000 images or more, FID-infinity with its R2."""
    count = images.count
    extrapolates = "fid-infinity" in settings.metrics and count >= FEWEST
    replicates = settings.bootstrap
    sizes = subset_sizes(count) if extrapolates else (count,)
    distances, again = [], []
    if extrapolates or replicates:
        resampled = ResampledFrechet(images.statistics.features, real)
        if extrapolates:
            distances = resampled.prefixes(subset_order(count), sizes)
        again = [resampled.prefixes(rows, sizes) for rows in resampled_rows(count, replicates)]
    how = f"{replicates} bootstrap replicates of {images.resampled}, the real images fixed"

    entry = {**images.entry, "num_real": real.count, **_bias_entry(count, real)}
    if "fid" in settings.metrics:
        details = {**entry, "formula": FID_FORMULA}
        if "fid-infinity" in settings.metrics and not extrapolates:
            details["fid_infinity"] = f"not measured: it takes {FEWEST:,} images or more"
        value, interval = fid(images.statistics, real), None
        if replicates:
            interval = around(value, deviation_of([d[-1] for d in again]), how, lowest=0)
        results.add(images.key("fid"), value, details, interval)
    if extrapolates:
        line, interval = fit_line(sizes, distances), None
        if replicates:
            deviation = deviation_of([fit_line(sizes, each).intercept for each in again])
            interval = around(line.intercept, deviation, f"{how}, each extrapolated")
        entry = {
            **entry,
            "formula": FID_INFINITY_FORMULA,
            "range": [sizes[0], sizes[-1]],
            "sizes": list(sizes),
            "distances": distances,
            "slope": line.slope,
            "r2": line.r2,
        }
        results.add(images.key("fid_infinity"), line.intercept, entry, interval)
        details = {**entry, "formula": "R2 of the line of fid_infinity"}
        results.add(images.key("fid_infinity_r2"), line.r2, details)


def measure_matched_fid(
    results: MetricResults,
    images: FeatureSet,
    real: Normal,
    settings: EvaluateSection,
    count: int,
) -> None:
    """Adds the mean FID of disjoint sets of `count` images each, at most 10 sets."""
    sets = min(MAX_MATCHED_SETS, images.count // count)
    features = images.statistics.features
    parts = [features[start : start + count] for start in range(0, sets * count, count)]
    first = ResampledFrechet(parts[0], real)
    distances = [first.all(), *(ResampledFrechet(part, real).all() for part in parts[1:])]
    value, interval = sum(distances) / sets, None
    if settings.bootstrap:
        again = [
            first.prefixes(rows, [count])[0] for rows in resampled_rows(count, settings.bootstrap)
        ]
        how = (
            f"{settings.bootstrap} bootstrap replicates of the first set, over the root of the "
            "number of sets; the real images fixed"
        )
        interval = around(value, deviation_of(again) / sets**0.5, how, lowest=0)
    entry = {
        **images.entry,
        "num_generated": count,
        "sets": sets,
        "num_real": real.count,
        **_bias_entry(count, real),
        "formula": f"{FID_FORMULA}, mean of disjoint sets of as many generated images as the "
        "held-out baseline has, so that both have one bias",
    }
    results.add(images.key("fid"), value, entry, interval)


def note_bias(results: MetricResults, images: FeatureSet, real: Normal) -> None:
    """Notes where there are no more images than features."""
    count, dim = images.count, len(real.mean)
    if count <= dim:
        results.note(
            f"{images.key('fid')} is of {count:,} images in {dim:,} dimensions and far too large "
            f"for it; from {FEWEST:,} images on there is {images.key('fid_infinity')}, which is "
            "free of that bias"
        )


def _bias_entry(count: int, real: Normal) -> dict[str, str]:
    dim = len(real.mean)
    few = [
        f"{number:,} {what}"
        for what, number in (("images", count), ("real images", real.count))
        if number <= dim
    ]
    if not few:
        return {}
    return {
        "bias": f"{' and '.join(few)} in {dim:,} dimensions: the covariance is singular and the "
        "distance far too large; compare at equal numbers alone, or fid_infinity"
    }
