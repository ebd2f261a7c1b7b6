"""Accuracy of the data set's own classifier on images, by the classes that they should show."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import BY_CLASS, MetricResults, Protocol, by_name
from pipeline.evaluation.metrics.intervals import (
    BOOTSTRAP_SEED,
    Interval,
    around,
    around_share,
    deviation_of,
)

ACCURACY_FORMULA = (
    "share of generated images that the data set's own classifier recognises as the class asked for"
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recognition:
    """Images and hits by class."""

    counts: npt.NDArray[np.int64]
    """[classes], images that should be of the class."""
    hits: npt.NDArray[np.int64]
    """[classes], those of them that are classified so."""

    @property
    def share(self) -> float:
        """Of all images."""
        return float(self.hits.sum() / self.counts.sum())

    @property
    def by_class(self) -> npt.NDArray[np.float64]:
        """[classes], the share of each; NaN for a class without images."""
        shares = np.full(len(self.counts), np.nan)
        np.divide(self.hits, self.counts, out=shares, where=self.counts > 0)
        return shares

    def lowest_deviation(self, replicates: int) -> float:
        """The bootstrap's of the lowest share of a class, images resampled within each."""
        known = self.counts > 0
        random = np.random.default_rng(BOOTSTRAP_SEED)
        shares = self.hits[known] / self.counts[known]
        again = random.binomial(self.counts[known], shares, size=(replicates, known.sum()))
        return deviation_of((again / self.counts[known]).min(axis=1))


def recognise(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Recognition:
    """Of logits [N, classes] and labels [N], N >= 1."""
    num_classes = logits.shape[1]
    correct = logits.argmax(axis=1) == labels
    return Recognition(
        counts=np.bincount(labels, minlength=num_classes),
        hits=np.bincount(labels[correct], minlength=num_classes),
    )


def measure_accuracy(
    results: MetricResults,
    images: FeatureSet,
    class_names: Sequence[str],
    settings: EvaluateSection,
) -> None:
    """Adds the share of images that the classifier recognises; nothing without labels."""
    if images.statistics.labels is None:
        return
    found = recognise(images.statistics.logits, images.statistics.labels)
    lowest_share = float(np.nanmin(found.by_class))
    intervals: list[Interval | None] = [None, None]
    if settings.bootstrap:
        deviation = found.lowest_deviation(settings.bootstrap)
        how = f"the bootstrap of {images.resampled}"
        intervals = [
            around_share(found.share, int(found.counts.sum()), images.resampled),
            around(lowest_share, deviation, how, lowest=0, highest=1),
        ]
    entry = {**images.entry, "formula": ACCURACY_FORMULA}
    details = {**entry, BY_CLASS: by_name(class_names, found.by_class)}
    results.add(images.key("accuracy"), found.share, details, intervals[0])
    entry["formula"] = f"{ACCURACY_FORMULA}, of the class with the lowest share"
    results.add(images.key("accuracy_min_class"), lowest_share, entry, intervals[1])


def measure_heldout_accuracy(
    results: MetricResults,
    key: str,
    accuracy: float,
    count: int,
    entry: Protocol,
    settings: EvaluateSection,
) -> None:
    """Adds the classifier's accuracy on `count` held-out real images, measured in its training."""
    resampled = "the held-out images"
    interval = around_share(accuracy, count, resampled) if settings.bootstrap else None
    details = {
        **entry,
        "num_real": count,
        "reference_split": "heldout",
        "formula": "share of held-out real images that the classifier, trained on the "
        "training split alone, recognises as what they are",
    }
    results.add(key, accuracy, details, interval)
