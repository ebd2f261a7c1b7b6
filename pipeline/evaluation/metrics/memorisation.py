"""Whether images lie nearer to training images than unseen real images do."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics.intervals import deviation_of, resampled_rows
from pipeline.evaluation.metrics.moments import Float64

NEAR_QUANTILE = 0.05

RATIO_FORMULA = (
    "median over the images of the distance to the nearest training image in feature space, over "
    "that of held-out real images: well below 1 they repeat training images"
)
SHARE_FORMULA = (
    "share of images nearer to a training image than the nearest 5 % of held-out real images are: "
    "0.05 for images that know the training split no better"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Memorisation:
    """Distances to the training images, held against those of unseen real images."""

    ratio: float
    """Of the medians."""
    near: float
    """Share of images nearer than the nearest 5 % of unseen real images."""


def memorisation(nearest: Float64, unseen: Float64) -> Memorisation | None:
    """Of distances [n] of images and [m] of unseen real images, each to its nearest training image.

    None where half of the unseen images equal a training image, so that no ratio exists.
    """
    middle = float(np.median(unseen))
    if middle == 0:
        return None
    near = np.quantile(unseen, NEAR_QUANTILE)
    return Memorisation(
        ratio=float(np.median(nearest)) / middle, near=float((nearest < near).mean())
    )


def memorisation_deviations(
    nearest: Float64, unseen: Float64, replicates: int
) -> tuple[float, float]:
    """The bootstrap's standard deviations of ratio and share; both sides are resampled."""
    both = zip(
        resampled_rows(len(nearest), replicates),
        resampled_rows(len(unseen), replicates, stream=1),
        strict=True,
    )
    again = [memorisation(nearest[rows], unseen[others]) for rows, others in both]
    known = [value for value in again if value is not None]
    if len(known) < 2:
        return 0.0, 0.0
    return deviation_of([v.ratio for v in known]), deviation_of([v.near for v in known])


def split_halves(values: npt.NDArray[np.float64]) -> tuple[Float64, Float64]:
    """Every other value and the rest: what real images score against real images."""
    return values[::2], values[1::2]
