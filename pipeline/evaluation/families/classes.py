"""What is measured within each class: intra-FID, and whether the class is recognised."""

from collections.abc import Sequence

import numpy as np

from pipeline.config.schema import EvaluateSection, IntraFidPreset
from pipeline.evaluation.measurements import BY_CLASS, Measurements
from pipeline.evaluation.metrics.intervals import Interval, around, around_share
from pipeline.evaluation.metrics.intra_fid import (
    INTRA_FID_FORMULA,
    MIYATO_PER_CLASS,
    ClassDistances,
    class_features,
    intra_fid,
    rows_by_class,
)
from pipeline.evaluation.metrics.recognition import recognise
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject

_CLASSIFIED = "share of generated images that the data set's own classifier recognises as the "


def distances_by_class(
    subject: Subject, real: RealFacts, limits: Sequence[int] | None, replicates: int
) -> ClassDistances | None:
    """Of the images at hand, of each class its first `limits[label]`; None without classes."""
    labels, rows = subject.images.labels, real.rows_by_class
    if labels is None or rows is None:
        return None
    return intra_fid(
        class_features(subject.images.features, rows_by_class(labels, len(rows)), limits),
        class_features(real.reference.train.features, rows),
        len(rows),
        replicates,
    )


def preset_limits(preset: IntraFidPreset, real: RealFacts) -> list[int] | None:
    """Generated images of each class that a preset takes at most; None without classes."""
    if real.rows_by_class is None:
        return None
    if preset == "miyato5k":
        return [MIYATO_PER_CLASS] * len(real.rows_by_class)
    return [len(rows) for rows in real.rows_by_class]


def measure_intra_fid(
    measurements: Measurements,
    subject: Subject,
    real: RealFacts,
    found: ClassDistances,
    preset: str,
    limits: Sequence[int] | None,
    settings: EvaluateSection,
) -> None:
    """Adds the mean of distances within the classes, the protocol with each; none of no class.

    `limits` are what the preset asks for in each class.
    """
    known = np.isfinite(found.distances)
    if not known.any():
        return
    entry = {
        **subject.entry,
        "preset": preset,
        "images_per_class": _range(found.num_generated),
        "num_real": sum(found.num_real),
        "real_per_class": _range(found.num_real),
        "classes": int(known.sum()),
        "formula": INTRA_FID_FORMULA,
    }
    if subject.entry["num_generated"]:
        entry["num_generated"] = sum(found.num_generated)
    if not known.all():
        entry["left_out"] = f"{int((~known).sum())} classes with fewer than 2 images on a side"
    short = limits is not None and any(
        n < m for n, m in zip(found.num_generated, limits, strict=True)
    )
    if short:
        entry["shortfall"] = (
            "some classes have fewer images than the preset asks for; the distance grows as their "
            "number falls, so compare at equal numbers alone"
        )
    interval = None
    if found.deviation is not None:
        how = (
            f"{settings.bootstrap} bootstrap replicates of {subject.resampled} within each class, "
            "the real images fixed"
        )
        interval = around(found.mean, found.deviation, how, lowest=0)
    entry[BY_CLASS] = _named(real.class_names, found.distances)
    measurements.add(subject.key("intra_fid"), found.mean, entry, interval)


def measure_accuracy(
    measurements: Measurements,
    subject: Subject,
    real: RealFacts,
    settings: EvaluateSection,
) -> None:
    """Adds how many images the data set's own classifier recognises; nothing without classes."""
    if subject.images.labels is None:
        return
    found = recognise(subject.images.logits, subject.images.labels)
    shares = found.by_class
    lowest_share = float(np.nanmin(shares))
    intervals: list[Interval | None] = [None, None]
    if settings.bootstrap:
        deviation = found.lowest_deviation(settings.bootstrap)
        how = f"the bootstrap of {subject.resampled}"
        intervals = [
            around_share(found.share, int(found.counts.sum()), subject.resampled),
            around(lowest_share, deviation, how, lowest=0, highest=1),
        ]
    measurements.add(
        subject.key("accuracy"),
        found.share,
        {
            **subject.entry,
            "formula": f"{_CLASSIFIED}class asked for",
            BY_CLASS: _named(real.class_names, shares),
        },
        intervals[0],
    )
    measurements.add(
        subject.key("accuracy_min_class"),
        lowest_share,
        {
            **subject.entry,
            "formula": f"{_CLASSIFIED}class asked for, of the class with the lowest share",
        },
        intervals[1],
    )


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, float | None]:
    pairs = zip(names, values.tolist(), strict=True)
    return {name: None if np.isnan(value) else value for name, value in pairs}


def _range(counts: Sequence[int]) -> int | list[int]:
    return counts[0] if min(counts) == max(counts) else [min(counts), max(counts)]
