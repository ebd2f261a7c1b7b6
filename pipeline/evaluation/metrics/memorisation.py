"""Whether images lie nearer to training images than unseen real images do."""

from dataclasses import dataclass

import numpy as np

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.intervals import Interval, around, deviation_of, resampled_rows
from pipeline.evaluation.metrics.moments import Float64

NEAR_QUANTILE = 0.05
_FEWEST_HALVES = 4  # held-out images: two in each half

RATIO_FORMULA = (
    "median over the images of the distance to the nearest training image in feature space, over "
    "that of held-out real images: well below 1 they repeat training images"
)
SHARE_FORMULA = (
    "share of images nearer to a training image than the nearest 5 % of held-out real images are: "
    "0.05 for images that are no closer to the training split"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorisation:
    """Distances to the training images, compared with those of unseen real images."""

    ratio: float
    """Of the medians."""
    near: float
    """Share of images nearer than the nearest 5 % of unseen real images."""


def memorisation(nearest: Float64, unseen: Float64) -> Memorisation | None:
    """Of distances [n] of images and [m] of unseen real images, each to its nearest training image.

    None where half of the unseen images equal a training image, so that no ratio exists.
    """
    middle = float(np.median(unseen))
    if middle == 0:
        return None
    near = np.quantile(unseen, NEAR_QUANTILE)
    return Memorisation(
        ratio=float(np.median(nearest)) / middle, near=float((nearest < near).mean())
    )


def memorisation_deviations(
    nearest: Float64, unseen: Float64, replicates: int
) -> tuple[float, float]:
    """The bootstrap's standard deviations of ratio and share; both sides are resampled."""
    both = zip(
        resampled_rows(len(nearest), replicates),
        resampled_rows(len(unseen), replicates, stream=1),
        strict=True,
    )
    again = [memorisation(nearest[rows], unseen[others]) for rows, others in both]
    known = [value for value in again if value is not None]
    if len(known) < 2:
        return 0.0, 0.0
    return deviation_of([v.ratio for v in known]), deviation_of([v.near for v in known])


def measure_memorisation(
    results: MetricResults,
    images: FeatureSet,
    nearest: Float64,
    unseen: Float64,
    num_real: int,
    settings: EvaluateSection,
) -> None:
    """Adds how distances [n] to the nearest training images compare with unseen real images'."""
    result = memorisation(nearest, unseen)
    if result is None:
        return
    intervals: list[Interval | None] = [None, None]
    if settings.bootstrap:
        how = (
            f"{settings.bootstrap} bootstrap replicates of {images.resampled} and of the "
            "held-out ones"
        )
        ratio, near = memorisation_deviations(nearest, unseen, settings.bootstrap)
        intervals = [
            around(result.ratio, ratio, how, lowest=0),
            around(result.near, near, how, lowest=0, highest=1),
        ]
    entry = {**images.entry, "num_real": num_real, "num_heldout": len(unseen)}
    for stem, value, formula, interval in (
        ("memorisation_ratio", result.ratio, RATIO_FORMULA, intervals[0]),
        ("memorised_share", result.near, SHARE_FORMULA, intervals[1]),
    ):
        results.add(images.key(stem), value, {**entry, "formula": formula}, interval)


def measure_baseline_memorisation(
    results: MetricResults,
    heldout: FeatureSet,
    nearest: Float64,
    num_real: int,
    settings: EvaluateSection,
) -> None:
    """Adds the same of every other held-out image against the rest; nothing of fewer than 4."""
    if len(nearest) < _FEWEST_HALVES:
        return
    half = heldout.with_entry(
        num_compared=len(nearest[::2]), compared_split="heldout, half against the other half"
    )
    measure_memorisation(results, half, nearest[::2], nearest[1::2], num_real, settings)
