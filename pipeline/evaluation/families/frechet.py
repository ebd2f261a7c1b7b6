"""FID, and FID extrapolated to infinitely many images."""

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.measurements import Measurements
from pipeline.evaluation.metrics.fid_infinity import (
    FEWEST,
    FID_INFINITY_FORMULA,
    fit_line,
    subset_order,
    subset_sizes,
)
from pipeline.evaluation.metrics.frechet import FID_FORMULA
from pipeline.evaluation.metrics.intervals import around, deviation_of, resampled_rows
from pipeline.evaluation.metrics.resampled_frechet import ResampledFrechet
from pipeline.evaluation.reference.quantities import RealFacts
from pipeline.evaluation.subject import Subject


def measure_frechet(
    measurements: Measurements, subject: Subject, real: RealFacts, settings: EvaluateSection
) -> None:
    """Adds FID and, of 10,000 images or more, FID-infinity with its R2."""
    count, features = subject.count, subject.images.features
    extrapolates = "fid-infinity" in settings.metrics and count >= FEWEST
    replicates = settings.bootstrap
    sizes = subset_sizes(count) if extrapolates else (count,)
    distances, again = [], []
    if extrapolates or replicates:
        resampled = ResampledFrechet(features, real.normal)
        if extrapolates:
            distances = resampled.prefixes(subset_order(count), sizes)
        again = [resampled.prefixes(rows, sizes) for rows in resampled_rows(count, replicates)]
    how = f"{replicates} bootstrap replicates of {subject.resampled}, the real images fixed"

    entry = {**subject.entry, "num_real": real.normal.count, **bias_entry(count, real)}
    if "fid" in settings.metrics:
        value = real.distance(subject.images)
        details = {**entry, "formula": FID_FORMULA}
        if "fid-infinity" in settings.metrics and not extrapolates:
            details["fid_infinity"] = f"not measured: it takes {FEWEST:,} images or more"
        interval = None
        if replicates:
            interval = around(value, deviation_of([d[-1] for d in again]), how, lowest=0)
        measurements.add(subject.key("fid"), value, details, interval)
    if extrapolates:
        line = fit_line(sizes, distances)
        interval = None
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
        measurements.add(subject.key("fid_infinity"), line.intercept, entry, interval)
        measurements.add(
            subject.key("fid_infinity_r2"),
            line.r2,
            {**entry, "formula": "R2 of the line of fid_infinity"},
        )


def measure_matched_frechet(
    measurements: Measurements,
    subject: Subject,
    real: RealFacts,
    settings: EvaluateSection,
    count: int,
    sets: int,
) -> None:
    """Adds the mean FID of the first `sets` stretches of `count` images each."""
    features = subject.images.features
    parts = [features[start : start + count] for start in range(0, sets * count, count)]
    first = ResampledFrechet(parts[0], real.normal)
    distances = [first.all(), *(ResampledFrechet(part, real.normal).all() for part in parts[1:])]
    value = sum(distances) / sets
    interval = None
    if settings.bootstrap:
        again = [
            first.prefixes(rows, [count])[0] for rows in resampled_rows(count, settings.bootstrap)
        ]
        how = (
            f"{settings.bootstrap} bootstrap replicates of the first set, over the root of the "
            "number of sets; the real images fixed"
        )
        interval = around(value, deviation_of(again) / sets**0.5, how, lowest=0)
    measurements.add(
        subject.key("fid"),
        value,
        {
            **subject.entry,
            "num_generated": count,
            "sets": sets,
            "num_real": real.normal.count,
            **bias_entry(count, real),
            "formula": f"{FID_FORMULA}, mean of disjoint sets of as many generated images as the "
            "held-out baseline has, so that both have one bias",
        },
        interval,
    )


def bias_entry(count: int, real: RealFacts) -> dict[str, str]:
    """What the protocol says where there are no more images than features; else nothing."""
    dim = len(real.normal.mean)
    few = [
        f"{number:,} {what}"
        for what, number in (("images", count), ("real images", real.normal.count))
        if number <= dim
    ]
    if not few:
        return {}
    return {
        "bias": f"{' and '.join(few)} in {dim:,} dimensions: the covariance is singular and the "
        "distance far too large; compare at equal numbers alone, or fid_infinity"
    }
