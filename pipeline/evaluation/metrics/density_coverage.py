"""Density and coverage (Naeem et al. 2020, equations 4 and 5)."""

from pipeline.evaluation.metrics.neighbours import Neighbourhoods

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
