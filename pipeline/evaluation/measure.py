"""Which metrics are measured: of generated images, of real ones, and of the held-out baseline."""

import dataclasses

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.extractors.extractor import DATASET_CNN
from pipeline.evaluation.features import FeatureSet, FeatureStatistics
from pipeline.evaluation.metric_results import MetricResults, Protocol
from pipeline.evaluation.metrics.accuracy import measure_accuracy, measure_heldout_accuracy
from pipeline.evaluation.metrics.density_coverage import measure_density_coverage
from pipeline.evaluation.metrics.fid import measure_fid, measure_matched_fid, note_bias
from pipeline.evaluation.metrics.inception_score import (
    IS_FORMULA,
    measure_inception_score,
    real_splits,
)
from pipeline.evaluation.metrics.intra_fid import (
    ClassDistances,
    measure_intra_fid,
    preset_limits,
)
from pipeline.evaluation.metrics.kid import measure_kid
from pipeline.evaluation.metrics.memorisation import (
    measure_baseline_memorisation,
    measure_memorisation,
)
from pipeline.evaluation.metrics.precision_recall import measure_precision_recall
from pipeline.evaluation.reference.statistics import ReferenceStatistics


def measure_generated(
    results: MetricResults,
    generated: FeatureStatistics,
    reference: ReferenceStatistics,
    settings: EvaluateSection,
    entry: Protocol,
    weights_suffix: str = "",
    *,
    drawn_by_class: ClassDistances | None = None,
) -> None:
    """Adds the metrics of `settings.metrics` that the images allow, each with its interval.

    `entry` describes extractor and generator; `weights_suffix` ends the keys. Without labels
    nothing is measured by class, without logits no IS. Intra-FID is that of `drawn_by_class`,
    images drawn for it alone, or of the images at hand.
    """
    chosen = set(settings.metrics)
    images = FeatureSet(
        statistics=generated,
        key=lambda stem: reference.key(stem) + weights_suffix,
        entry={**entry, **reference.protocol.entry, "num_generated": generated.moments.count},
    )
    alone = images.with_entry(num_real=0, reference_split=None)

    if chosen & {"fid", "fid-infinity"}:
        measure_fid(results, images, reference.normal, settings)
        note_bias(results, images, reference.normal)
    if "is" in chosen:
        splits = min(settings.is_splits, images.count)
        measure_inception_score(results, alone, generated.logits, splits, settings)
    if "kid" in chosen:
        measure_kid(results, images, reference.pool, settings)
    if "prc" in chosen:
        measure_precision_recall(results, images, reference.pool, settings)
    if chosen & {"prdc", "memorisation"} and reference.has_neighbours:
        found, unseen = reference.neighbourhoods(generated), reference.heldout_neighbourhoods
        if "prdc" in chosen:
            measure_density_coverage(results, images, found, settings)
        if "memorisation" in chosen and unseen is not None:
            num_real = len(reference.pool)
            measure_memorisation(results, images, found.nearest, unseen.nearest, num_real, settings)
    if "intra-fid" in chosen and reference.rows_by_class is not None:
        class_sizes = [len(rows) for rows in reference.rows_by_class]
        limits = preset_limits(settings.intra_fid, class_sizes)
        by_class = drawn_by_class or reference.class_distances(
            generated, limits, settings.bootstrap
        )
        if by_class is not None:
            measure_intra_fid(
                results,
                images,
                by_class,
                reference.names,
                settings.intra_fid,
                limits,
                settings,
            )
    if "accuracy" in chosen and reference.protocol.extractor == DATASET_CNN:
        measure_accuracy(results, alone, reference.names, settings)
    if reference.heldout is not None:
        _measure_matched(results, images, reference, reference.heldout, settings)


def _measure_matched(
    results: MetricResults,
    images: FeatureSet,
    reference: ReferenceStatistics,
    baseline: FeatureStatistics,
    settings: EvaluateSection,
) -> None:
    """Adds `matched_...` of what depends on the number of images, at that of the baseline."""
    chosen = set(settings.metrics)
    count = len(baseline.features)
    if count >= images.count:  # the baseline compares with the numbers themselves
        return
    matched = dataclasses.replace(images, key=lambda stem: images.key(f"matched_{stem}"))
    if "fid" in chosen:
        measure_matched_fid(results, matched, reference.normal, settings, count)
    first = images.statistics.take(slice(count))
    few = dataclasses.replace(matched, statistics=first).with_entry(num_generated=count)
    if "prc" in chosen:
        measure_precision_recall(results, few, reference.pool, settings)
    if "prdc" in chosen and reference.has_neighbours:
        measure_density_coverage(results, few, reference.neighbourhoods(first), settings)
    if "intra-fid" in chosen and baseline.labels is not None:
        limits = [int((baseline.labels == label).sum()) for label in range(len(reference.names))]
        by_class = reference.class_distances(images.statistics, limits, settings.bootstrap)
        if by_class is not None:
            measure_intra_fid(
                results,
                matched,
                by_class,
                reference.names,
                "as the held-out baseline",
                limits,
                settings,
            )


def measure_reference(
    results: MetricResults,
    reference: ReferenceStatistics,
    settings: EvaluateSection,
    entry: Protocol,
) -> None:
    """Adds real-data IS, the classifier's held-out accuracy and the baseline of every metric.

    `entry` describes the extractor.
    """
    protocol, num_real = reference.protocol, len(reference.pool)
    real = FeatureSet(
        statistics=reference.train,
        key=lambda stem: reference.key(f"real_{stem}"),
        entry={
            **entry,
            **protocol.entry,
            "weights": None,
            "num_generated": 0,
            "seed": None,
            "labels": None,
            "num_real": num_real,
        },
        resampled="the real images",
    )
    if "is" in settings.metrics:
        measure_inception_score(
            results,
            real,
            reference.pool_logits,
            real_splits(num_real, settings),
            settings,
            f"{IS_FORMULA}, of real images; splits as near as can be to the size of those of the "
            "generated images, since IS depends on it",
        )
    if "accuracy" in settings.metrics and protocol.heldout_accuracy is not None:
        measure_heldout_accuracy(
            results,
            reference.key("heldout_accuracy"),
            protocol.heldout_accuracy,
            protocol.num_heldout,
            real.entry,
            settings,
        )
    if reference.heldout is not None:
        heldout = FeatureSet(
            statistics=reference.heldout,
            key=lambda stem: reference.key(f"baseline_{stem}"),
            entry={
                **real.entry,
                "compared_split": "heldout",
                "num_compared": reference.heldout.moments.count,
            },
            resampled="the held-out images",
        )
        _measure_baseline(results, heldout, reference, settings)


def _measure_baseline(
    results: MetricResults,
    heldout: FeatureSet,
    reference: ReferenceStatistics,
    settings: EvaluateSection,
) -> None:
    """Scores held-out images as if they were generated."""
    chosen = set(settings.metrics)
    if chosen & {"fid", "fid-infinity"}:
        measure_fid(results, heldout, reference.normal, settings)
    if "kid" in chosen:
        measure_kid(results, heldout, reference.pool, settings)
    if "prc" in chosen:
        measure_precision_recall(results, heldout, reference.pool, settings)
    found = reference.heldout_neighbourhoods if reference.has_neighbours else None
    if "prdc" in chosen and found is not None:
        measure_density_coverage(results, heldout, found, settings)
    if "memorisation" in chosen and found is not None:
        num_real = len(reference.pool)
        measure_baseline_memorisation(results, heldout, found.nearest, num_real, settings)
    if "intra-fid" in chosen:
        by_class = reference.class_distances(heldout.statistics, None, settings.bootstrap)
        if by_class is not None:
            measure_intra_fid(
                results, heldout, by_class, reference.names, "all held-out", None, settings
            )
