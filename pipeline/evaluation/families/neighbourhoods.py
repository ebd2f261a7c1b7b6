"""Precision and recall, density and coverage, and whether images repeat training images."""

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.metrics.density_coverage import (
    COVERAGE_FORMULA,
    DENSITY_FORMULA,
    NEIGHBOURS,
    coverage,
    density,
)
from pipeline.evaluation.metrics.intervals import (
    Interval,
    around,
    around_share,
    deviation_of_mean,
)
from pipeline.evaluation.metrics.memorisation import (
    RATIO_FORMULA,
    SHARE_FORMULA,
    memorisation,
    memorisation_deviations,
)
from pipeline.evaluation.metrics.moments import Float64
from pipeline.evaluation.metrics.neighbours import Neighbourhoods
from pipeline.evaluation.metrics.scores import (
    PRC_FORMULA,
    PRC_NEIGHBOURS,
    precision_and_recall,
)
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject

_ON_REAL = "the real images, each image's neighbourhood fixed"


def measure_precision_recall(
    measurements: Measurements, subject: Subject, real: RealFacts, settings: EvaluateSection
) -> None:
    """Adds precision and recall; nothing of too few images for neighbourhoods."""
    count, num_real = len(subject.images.features), len(real.pool)
    if min(count, num_real) <= PRC_NEIGHBOURS:
        return
    precision, recall = precision_and_recall(subject.images.features, real.pool)
    on_subject = f"{subject.resampled}, each image's neighbourhood fixed"
    entry = {**subject.entry, "num_real": num_real, "k": PRC_NEIGHBOURS, "formula": PRC_FORMULA}
    for stem, value, number, resampled in (
        ("precision", precision, count, on_subject),
        ("recall", recall, num_real, _ON_REAL),
    ):
        interval = around_share(value, number, resampled) if settings.bootstrap else None
        measurements.add(subject.key(stem), value, entry, interval)


def measure_density_coverage(
    measurements: Measurements,
    subject: Subject,
    found: Neighbourhoods,
    settings: EvaluateSection,
) -> None:
    """Adds density and coverage of where the images were `found`."""
    num_real = len(found.covered)
    entry = {**subject.entry, "num_real": num_real, "k": NEIGHBOURS}
    value = density(found)
    interval = None
    if settings.bootstrap:
        how = f"the bootstrap of {subject.resampled}, each image's neighbourhood fixed"
        deviation = deviation_of_mean(found.inside / NEIGHBOURS)
        interval = around(value, deviation, how, lowest=0)
    details = {**entry, "formula": DENSITY_FORMULA}
    measurements.add(subject.key("density"), value, details, interval)
    value = coverage(found)
    interval = around_share(value, num_real, _ON_REAL) if settings.bootstrap else None
    details = {**entry, "formula": COVERAGE_FORMULA}
    measurements.add(subject.key("coverage"), value, details, interval)


def measure_memorisation(
    measurements: Measurements,
    subject: Subject,
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
            f"{settings.bootstrap} bootstrap replicates of {subject.resampled} and of the "
            "held-out ones"
        )
        ratio, near = memorisation_deviations(nearest, unseen, settings.bootstrap)
        intervals = [
            around(result.ratio, ratio, how, lowest=0),
            around(result.near, near, how, lowest=0, highest=1),
        ]
    entry = {**subject.entry, "num_real": num_real, "num_heldout": len(unseen)}
    for stem, value, formula, interval in (
        ("memorisation_ratio", result.ratio, RATIO_FORMULA, intervals[0]),
        ("memorised_share", result.near, SHARE_FORMULA, intervals[1]),
    ):
        measurements.add(subject.key(stem), value, {**entry, "formula": formula}, interval)
