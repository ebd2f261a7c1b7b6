"""The Frechet distance within each class (Miyato and Koyama 2018, section 4.2), by low ranks.

A class has fewer images than features nearly always. Then no covariance is ever made: a distance
costs the product of two thin matrices and the eigenvalues of their Gram matrix.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from pipeline.config.schema import EvaluateSection, IntraFidPreset
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import BY_CLASS, MetricResults, by_name
from pipeline.evaluation.metrics.frechet import FID_FORMULA, Normal, ResampledFrechet
from pipeline.evaluation.metrics.intervals import around, deviation_of, resampled_rows
from pipeline.evaluation.metrics.moments import Features

MIYATO_PER_CLASS = 5000
"""Generated images of each class in Miyato and Koyama 2018."""

_MAX_THREADS = 8  # each holds the features of a class in float64

INTRA_FID_FORMULA = f"mean over the classes of {FID_FORMULA}"

ClassFeatures = Callable[[int], Features]
"""Features [n, d] of the images of a class; n may be 0."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClassDistances:
    """Distances within the classes, and what they were measured on."""

    distances: npt.NDArray[np.float64]
    """[classes], NaN for a class with fewer than 2 images on either side."""
    deviation: float | None
    """The bootstrap's standard deviation of the mean; None without replicates."""
    num_generated: tuple[int, ...]
    """By class."""
    num_real: tuple[int, ...]
    """By class."""

    @property
    def mean(self) -> float:
        """Over the classes that have a distance; NaN where none has."""
        known = self.distances[np.isfinite(self.distances)]
        return float(known.mean()) if len(known) else float("nan")


class ClassAccumulator:
    """Distances class by class, so that the images of one class are in memory at a time."""

    def __init__(self, real: ClassFeatures, num_classes: int, replicates: int = 0) -> None:
        """Generated images are resampled within their class, 0 or 2 and more times."""
        self._real = real
        self._replicates = replicates
        self._distances = np.full(num_classes, np.nan)
        self._variances = np.zeros(num_classes)
        self._counts = np.zeros((2, num_classes), np.int64)

    def add(self, label: int, features: Features) -> None:
        """All generated features [n, d] of a class."""
        real = self._real(label)
        self._counts[:, label] = count, _ = len(features), len(real)
        if min(count, len(real)) < 2:
            return
        resampled = ResampledFrechet(features, Normal.of_features(real))
        self._distances[label] = resampled.all()
        if self._replicates:
            draws = resampled_rows(count, self._replicates)
            again = [resampled.prefixes(rows, [count])[0] for rows in draws]
            self._variances[label] = deviation_of(again) ** 2

    def result(self) -> ClassDistances:
        """Of the classes that were added."""
        num_known = max(1, int(np.isfinite(self._distances).sum()))
        deviation = float(np.sqrt(self._variances.sum())) / num_known
        return ClassDistances(
            distances=self._distances,
            deviation=deviation if self._replicates else None,
            num_generated=tuple(self._counts[0].tolist()),
            num_real=tuple(self._counts[1].tolist()),
        )


def intra_fid(
    generated: ClassFeatures, real: ClassFeatures, num_classes: int, replicates: int = 0
) -> ClassDistances:
    """The distances within all classes, several at a time; see `ClassAccumulator`.

    The features of a class are asked for from several threads.
    """
    accumulator = ClassAccumulator(real, num_classes, replicates)
    # Threads that share such small products wait for each other more than they work.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(min(_MAX_THREADS, torch.get_num_threads())) as pool,
    ):
        list(pool.map(lambda label: accumulator.add(label, generated(label)), range(num_classes)))
    return accumulator.result()


def rows_by_class(labels: npt.NDArray[np.int64], num_classes: int) -> list[npt.NDArray[np.int64]]:
    """The rows [n] of each class, in their order."""
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(num_classes + 1))
    return [order[ends[label] : ends[label + 1]] for label in range(num_classes)]


def class_features(
    features: Features, rows: Sequence[npt.NDArray[np.int64]], limits: Sequence[int] | None = None
) -> ClassFeatures:
    """Looks up the features of a class, of its first `limits[label]` images alone where given."""

    def of(label: int) -> Features:
        chosen = rows[label] if limits is None else rows[label][: limits[label]]
        return np.asarray(features[chosen])

    return of


def preset_limits(preset: IntraFidPreset, num_real: Sequence[int]) -> list[int]:
    """Generated images of each class that a preset takes at most; `num_real` counts by class."""
    if preset == "miyato5k":
        return [MIYATO_PER_CLASS] * len(num_real)
    return list(num_real)


def measure_intra_fid(
    results: MetricResults,
    images: FeatureSet,
    found: ClassDistances,
    class_names: Sequence[str],
    preset: str,
    limits: Sequence[int] | None,
    settings: EvaluateSection,
) -> None:
    """Adds the mean of the distances `found` within the classes; nothing where there is none.

    `limits` are the images of each class that the preset asks for.
    """
    known = np.isfinite(found.distances)
    if not known.any():
        return
    entry = {
        **images.entry,
        "preset": preset,
        "images_per_class": _range(found.num_generated),
        "num_real": sum(found.num_real),
        "real_per_class": _range(found.num_real),
        "classes": int(known.sum()),
        "formula": INTRA_FID_FORMULA,
    }
    if images.entry["num_generated"]:
        entry["num_generated"] = sum(found.num_generated)
    if not known.all():
        entry["left_out"] = f"{int((~known).sum())} classes with fewer than 2 images on a side"
    if limits is not None and any(n < m for n, m in zip(found.num_generated, limits, strict=True)):
        entry["shortfall"] = (
            "some classes have fewer images than the preset asks for; the distance grows as their "
            "number falls, so compare at equal numbers alone"
        )
    interval = None
    if found.deviation is not None:
        how = (
            f"{settings.bootstrap} bootstrap replicates of {images.resampled} within each class, "
            "the real images fixed"
        )
        interval = around(found.mean, found.deviation, how, lowest=0)
    entry[BY_CLASS] = by_name(class_names, found.distances)
    results.add(images.key("intra_fid"), found.mean, entry, interval)


def _range(counts: Sequence[int]) -> int | list[int]:
    return counts[0] if min(counts) == max(counts) else [min(counts), max(counts)]
