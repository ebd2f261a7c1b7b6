"""FID, IS and KID by torch-fidelity's functions, in float64 from the features on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.moments import Moments

_metric_fid = import_torch_fidelity("metric_fid")
_metric_isc = import_torch_fidelity("metric_isc")
_metric_kid = import_torch_fidelity("metric_kid")

TORCH_FIDELITY_VERSION: str = import_torch_fidelity("version").__version__
SHUFFLE_SEED = 2020
"""torch-fidelity's own default: of the shuffle before IS splits and of KID's subsets."""

FID_FORMULA = f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_fid.fid_statistics_to_metric"
IS_FORMULA = f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_isc.isc_features_to_metric"
KID_FORMULA = (
    f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_kid.kid_features_to_metric, "
    "unbiased, kernel (x.y / d + 1)^3"
)

Features = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanStd:
    """A score's mean and standard deviation over splits or subsets."""

    mean: float
    std: float


def fid(generated: Moments, real: Moments) -> float:
    """Frechet distance of the two normal distributions (Heusel et al. 2017, equation 6)."""
    statistics = [{"mu": m.mean, "sigma": m.covariance} for m in (generated, real)]
    result = _metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    return float(result[_metric_fid.KEY_METRIC_FID])


def inception_score(logits: Features, splits: int) -> MeanStd:
    """IS (Salimans et al. 2016) of logits [N, k], shuffled and cut into `splits` <= N parts."""
    result = _metric_isc.isc_features_to_metric(
        torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=SHUFFLE_SEED
    )
    return MeanStd(
        mean=result[_metric_isc.KEY_METRIC_ISC_MEAN], std=result[_metric_isc.KEY_METRIC_ISC_STD]
    )


def kid(generated: Features, real: Features, subsets: int, subset_size: int) -> MeanStd:
    """KID (Binkowski et al. 2018, cubic kernel, unbiased) of features [N, d] and [M, d].

    Each of `subsets` draws takes `subset_size` rows, 2 <= subset_size <= min(N, M), of both.
    """
    result = _metric_kid.kid_features_to_metric(
        torch.from_numpy(generated.astype(np.float64)),
        torch.from_numpy(real.astype(np.float64)),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        rng_seed=SHUFFLE_SEED,
        verbose=False,
    )
    return MeanStd(
        mean=result[_metric_kid.KEY_METRIC_KID_MEAN], std=result[_metric_kid.KEY_METRIC_KID_STD]
    )
