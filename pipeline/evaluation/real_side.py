"""What the real images score themselves: the numbers that say what the model's mean."""

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.families.classes import distances_by_class, measure_intra_fid
from pipeline.evaluation.families.frechet import measure_frechet
from pipeline.evaluation.families.neighbourhoods import (
    measure_density_coverage,
    measure_memorisation,
    measure_precision_recall,
)
from pipeline.evaluation.families.scores import measure_inception_score, measure_kid
from pipeline.evaluation.measurements import Measurements, Protocol
from pipeline.evaluation.metrics.intervals import around_share
from pipeline.evaluation.metrics.memorisation import split_halves
from pipeline.evaluation.metrics.scores import IS_FORMULA
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject

_FEWEST_HALVES = 4  # held-out images: two in each half


def measure_real_side(
    measurements: Measurements,
    real: RealFacts,
    settings: EvaluateSection,
    entry: Protocol,
) -> None:
    """Adds real-data IS, the classifier's held-out accuracy and the baseline of every metric.

    `entry` is what the protocol says of the extractor.
    """
    reference, baseline = real.reference, real.baseline
    protocol = reference.protocol
    entry = {**entry, **protocol.entry}
    nothing = {"weights": None, "num_generated": 0, "seed": None, "labels": None}
    itself = Subject(
        images=reference.train,
        key=lambda stem: real.key(f"real_{stem}"),
        entry={**entry, **nothing, "num_real": len(real.pool)},
        resampled="the real images",
    )
    if "is" in settings.metrics:
        splits, _ = real_splits(len(real.pool), settings)
        measure_inception_score(
            measurements,
            itself,
            real.pool_logits,
            splits,
            settings,
            f"{IS_FORMULA}, of real images; splits as near as can be to the size of those of the "
            "generated images, since IS depends on it",
        )
    if "accuracy" in settings.metrics and protocol.heldout_accuracy is not None:
        _add_heldout_accuracy(measurements, itself, real, settings)
    if baseline is not None:
        heldout = Subject(
            images=baseline.collected,
            key=lambda stem: real.key(f"baseline_{stem}"),
            entry={**itself.entry, "compared_split": "heldout", "num_compared": baseline.count},
            resampled="the held-out images",
        )
        _measure_baseline(measurements, heldout, real, settings)


def _measure_baseline(
    measurements: Measurements,
    heldout: Subject,
    real: RealFacts,
    settings: EvaluateSection,
) -> None:
    """Held-out images in the place of generated ones."""
    chosen = set(settings.metrics)
    if chosen & {"fid", "fid-infinity"}:
        measure_frechet(measurements, heldout, real, settings)
    if "kid" in chosen:
        measure_kid(measurements, heldout, real, settings)
    if "prc" in chosen:
        measure_precision_recall(measurements, heldout, real, settings)
    if chosen & {"prdc", "memorisation"} and real.has_neighbours and real.unseen is not None:
        if "prdc" in chosen:
            measure_density_coverage(measurements, heldout, real.unseen, settings)
        if "memorisation" in chosen and heldout.count >= _FEWEST_HALVES:
            one, other = split_halves(real.unseen.nearest)
            half = heldout.with_entry(
                num_compared=len(one), compared_split="heldout, half against the other half"
            )
            measure_memorisation(measurements, half, one, other, len(real.pool), settings)
    if "intra-fid" in chosen:
        by_class = distances_by_class(heldout, real, None, settings.bootstrap)
        if by_class is not None:
            measure_intra_fid(measurements, heldout, real, by_class, "all held-out", None, settings)


def _add_heldout_accuracy(
    measurements: Measurements,
    itself: Subject,
    real: RealFacts,
    settings: EvaluateSection,
) -> None:
    protocol = real.reference.protocol
    accuracy, count = protocol.heldout_accuracy, protocol.num_heldout
    assert accuracy is not None
    interval = None
    if settings.bootstrap:
        interval = around_share(accuracy, count, "the held-out images")
    measurements.add(
        real.key("heldout_accuracy"),
        accuracy,
        {
            **itself.entry,
            "num_real": count,
            "reference_split": "heldout",
            "formula": "share of held-out real images that the classifier, trained on the "
            "training split alone, recognises as what they are",
        },
        interval,
    )


def real_splits(num_real: int, settings: EvaluateSection) -> tuple[int, int]:
    """Splits of the real-data IS and images in each, near those of the generated images."""
    per_split = max(1, settings.num_samples // settings.is_splits)
    splits = min(settings.is_splits, max(1, round(num_real / per_split)))
    return splits, num_real // splits
