"""Density and coverage (Naeem et al. 2020, equations 4 and 5)."""

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.intervals import around, around_share, deviation_of_mean
from pipeline.evaluation.metrics.neighbours import FIXED_NEIGHBOURHOODS, Neighbourhoods

NEIGHBOURS = 5
"""k: a real image's ball reaches to its k-th nearest real neighbour; 5 in their experiments."""

DENSITY_FORMULA = (
    f"mean over the images of the number of real images' balls that hold them, over k = "
    f"{NEIGHBOURS}; a ball reaches to the k-th nearest other real image (Naeem et al. 2020, "
    "equation 4)"
)
COVERAGE_FORMULA = (
    "share of real images in whose ball an image lies; a ball reaches to the k-th nearest other "
    f"real image, k = {NEIGHBOURS} (Naeem et al. 2020, equation 5)"
)


def density(found: Neighbourhoods) -> float:
    """About 1 for real images; more where images crowd at the densest places."""
    return float(found.inside.mean()) / NEIGHBOURS


def coverage(found: Neighbourhoods) -> float:
    """In 0..1; grows with the number of images."""
    return float(found.covered.mean())


def measure_density_coverage(
    results: MetricResults,
    images: FeatureSet,
    found: Neighbourhoods,
    settings: EvaluateSection,
) -> None:
    """Adds density and coverage of images whose neighbourhoods are `found`."""
    num_real = len(found.covered)
    entry = {**images.entry, "num_real": num_real, "k": NEIGHBOURS}
    value, interval = density(found), None
    if settings.bootstrap:
        how = f"the bootstrap of {images.resampled}, {FIXED_NEIGHBOURHOODS}"
        deviation = deviation_of_mean(found.inside / NEIGHBOURS)
        interval = around(value, deviation, how, lowest=0)
    details = {**entry, "formula": DENSITY_FORMULA}
    results.add(images.key("density"), value, details, interval)
    value, interval = coverage(found), None
    if settings.bootstrap:
        interval = around_share(value, num_real, f"the real images, {FIXED_NEIGHBOURHOODS}")
    details = {**entry, "formula": COVERAGE_FORMULA}
    results.add(images.key("coverage"), value, details, interval)
