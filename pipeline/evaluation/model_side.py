"""What generated images score under one extractor."""

import dataclasses

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.extractor import DATASET_CNN
from pipeline.evaluation.families.classes import (
    distances_by_class,
    measure_accuracy,
    measure_intra_fid,
    preset_limits,
)
from pipeline.evaluation.families.frechet import measure_frechet, measure_matched_frechet
from pipeline.evaluation.families.neighbourhoods import (
    measure_density_coverage,
    measure_memorisation,
    measure_precision_recall,
)
from pipeline.evaluation.families.scores import measure_inception_score, measure_kid
from pipeline.evaluation.measurements import Measurements, Protocol
from pipeline.evaluation.metrics.fid_infinity import FEWEST
from pipeline.evaluation.metrics.intra_fid import ClassDistances
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.baseline import Baseline
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject

MAX_MATCHED_SETS = 10


def measure_model_side(
    measurements: Measurements,
    generated: Collected,
    real: RealFacts,
    settings: EvaluateSection,
    entry: Protocol,
    weights_suffix: str,
    *,
    drawn_by_class: ClassDistances | None = None,
) -> None:
    """Adds the metrics of `settings.metrics` that the images allow, each with its interval.

    `entry` is what the protocol says of extractor and generator; `weights_suffix` ends the keys.
    Without labels nothing is measured by class, without logits no IS. Intra-FID is that of
    `drawn_by_class`, images drawn for it alone, or of the images at hand.
    """
    protocol = real.reference.protocol
    chosen = set(settings.metrics)
    subject = Subject(
        images=generated,
        key=lambda stem: real.key(stem) + weights_suffix,
        entry={**entry, **protocol.entry, "num_generated": generated.moments.count},
    )
    alone = subject.with_entry(num_real=0, reference_split=None)

    if chosen & {"fid", "fid-infinity"}:
        measure_frechet(measurements, subject, real, settings)
        _warn_of_bias(measurements, subject, real)
    if "is" in chosen:
        splits = min(settings.is_splits, subject.count)
        measure_inception_score(measurements, alone, generated.logits, splits, settings)
    if "kid" in chosen:
        measure_kid(measurements, subject, real, settings)
    if "prc" in chosen:
        measure_precision_recall(measurements, subject, real, settings)
    if chosen & {"prdc", "memorisation"} and real.has_neighbours:
        found = real.neighbourhoods(generated)
        if "prdc" in chosen:
            measure_density_coverage(measurements, subject, found, settings)
        if "memorisation" in chosen and real.unseen is not None:
            unseen, num_real = real.unseen.nearest, len(real.pool)
            measure_memorisation(measurements, subject, found.nearest, unseen, num_real, settings)
    if "intra-fid" in chosen:
        limits = preset_limits(settings.intra_fid, real)
        by_class = drawn_by_class or distances_by_class(subject, real, limits, settings.bootstrap)
        if by_class is not None:
            measure_intra_fid(
                measurements, subject, real, by_class, settings.intra_fid, limits, settings
            )
    if "accuracy" in chosen and protocol.extractor == DATASET_CNN:
        measure_accuracy(measurements, alone, real, settings)
    if real.baseline is not None:
        _measure_matched(measurements, subject, real, real.baseline, settings)


def _measure_matched(
    measurements: Measurements,
    subject: Subject,
    real: RealFacts,
    baseline: Baseline,
    settings: EvaluateSection,
) -> None:
    """Adds `matched_...` of what depends on the number of images, at that of the baseline's."""
    chosen = set(settings.metrics)
    matched = dataclasses.replace(subject, key=lambda stem: subject.key(f"matched_{stem}"))
    count = baseline.count
    if count >= subject.count:  # the baseline compares with the numbers themselves
        return
    if "fid" in chosen:
        sets = min(MAX_MATCHED_SETS, subject.count // count)
        measure_matched_frechet(measurements, matched, real, settings, count, sets)
    few = dataclasses.replace(matched, images=_first(subject.images, count))
    few = few.with_entry(num_generated=count)
    if "prc" in chosen:
        measure_precision_recall(measurements, few, real, settings)
    if "prdc" in chosen and real.has_neighbours:
        found = real.neighbourhoods(few.images)
        measure_density_coverage(measurements, few, found, settings)
    labels = baseline.collected.labels
    if "intra-fid" in chosen and labels is not None:
        limits = [int((labels == label).sum()) for label in range(len(real.class_names))]
        by_class = distances_by_class(matched, real, limits, settings.bootstrap)
        if by_class is not None:
            measure_intra_fid(
                measurements, matched, real, by_class, "as the held-out baseline", limits, settings
            )


def _first(images: Collected, count: int) -> Collected:
    features = images.features[:count]
    return Collected(
        moments=Moments.of(features),
        features=features,
        logits=images.logits[:count],
        labels=None if images.labels is None else images.labels[:count],
    )


def _warn_of_bias(measurements: Measurements, subject: Subject, real: RealFacts) -> None:
    count, dim = subject.count, len(real.normal.mean)
    if count <= dim:
        measurements.note(
            f"{subject.key('fid')} is of {count:,} images in {dim:,} dimensions and far too large "
            f"for it; from {FEWEST:,} images on there is {subject.key('fid_infinity')}, which is "
            "free of that bias"
        )
