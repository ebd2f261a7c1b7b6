"""IS, KID, precision and recall by torch-fidelity's functions, imported when one is called."""

from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import torch

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.moments import Features

TORCH_FIDELITY_VERSION = version("torch-fidelity")
SHUFFLE_SEED = 2020
"""torch-fidelity's own default: of the shuffle before IS splits and of KID's subsets."""

IS_FORMULA = f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_isc.isc_features_to_metric"
KID_FORMULA = (
    f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_kid.kid_features_to_metric, "
    "unbiased, kernel (x.y / d + 1)^3, features in float64"
)
PRC_NEIGHBOURS = 3
"""k: torch-fidelity's default, and Kynkaanniemi et al. 2019's."""
PRC_FORMULA = (
    f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_prc.prc_features_to_metric, k = "
    f"{PRC_NEIGHBOURS}, float32"
)
_PRC_IN_MEMORY = 10_000  # its default batch: of more, distances come in blocks
_PRC_BLOCK = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanStd:
    """A score's mean and standard deviation over splits or subsets."""

    mean: float
    std: float


def inception_score(logits: Features, splits: int) -> MeanStd:
    """IS (Salimans et al. 2016) of logits [N, k], shuffled and cut into `splits` <= N parts."""
    metric_isc = import_torch_fidelity("metric_isc")
    result = metric_isc.isc_features_to_metric(
        torch.from_numpy(logits), splits=splits, shuffle=True, rng_seed=SHUFFLE_SEED
    )
    return MeanStd(
        mean=result[metric_isc.KEY_METRIC_ISC_MEAN], std=result[metric_isc.KEY_METRIC_ISC_STD]
    )


def kid(generated: Features, real: Features, subsets: int, subset_size: int) -> MeanStd:
    """KID (Binkowski et al. 2018, cubic kernel, unbiased) of features [N, d] and [M, d].

    Each of `subsets` draws takes `subset_size` rows, 2 <= subset_size <= min(N, M), of both.
    """
    metric_kid = import_torch_fidelity("metric_kid")
    result = metric_kid.kid_features_to_metric(
        torch.from_numpy(generated.astype(np.float64)),
        torch.from_numpy(real.astype(np.float64)),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        rng_seed=SHUFFLE_SEED,
        verbose=False,
    )
    return MeanStd(
        mean=result[metric_kid.KEY_METRIC_KID_MEAN], std=result[metric_kid.KEY_METRIC_KID_STD]
    )


def precision_and_recall(generated: Features, real: Features) -> tuple[float, float]:
    """Kynkaanniemi et al. 2019 of features [N, d] and [M, d], N and M more than `PRC_NEIGHBOURS`.

    Precision is the share of generated images within a real image's ball, recall that of real
    images within a generated one's; a ball reaches to the k-th nearest neighbour on its own side.
    """
    few = max(len(generated), len(real)) <= _PRC_IN_MEMORY
    metric_prc = import_torch_fidelity("metric_prc")
    result = metric_prc.prc_features_to_metric(
        torch.from_numpy(np.asarray(generated, np.float32)),
        torch.from_numpy(np.asarray(real, np.float32)),
        prc_neighborhood=PRC_NEIGHBOURS,
        prc_batch_size=_PRC_IN_MEMORY if few else _PRC_BLOCK,
        save_cpu_ram=not few,
        verbose=False,
    )
    return result[metric_prc.KEY_METRIC_PRECISION], result[metric_prc.KEY_METRIC_RECALL]
