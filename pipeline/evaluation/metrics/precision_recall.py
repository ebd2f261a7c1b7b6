"""Improved precision and recall (Kynkaanniemi et al. 2019), by torch-fidelity's function."""

import numpy as np
import torch

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.extractors.torchvision_import import (
    TORCH_FIDELITY_VERSION,
    import_torch_fidelity,
)
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.metric_results import MetricResults
from pipeline.evaluation.metrics.intervals import around_share
from pipeline.evaluation.metrics.moments import Features
from pipeline.evaluation.metrics.neighbours import FIXED_NEIGHBOURHOODS

PRC_NEIGHBOURS = 3
"""k: torch-fidelity's default, and Kynkaanniemi et al. 2019's."""
PRC_FORMULA = (
    f"torch-fidelity {TORCH_FIDELITY_VERSION} metric_prc.prc_features_to_metric, k = "
    f"{PRC_NEIGHBOURS}, float32"
)
_PRC_IN_MEMORY = 10_000  # its default batch: of more, distances come in blocks
_PRC_BLOCK = 4000


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


def measure_precision_recall(
    results: MetricResults, images: FeatureSet, real: Features, settings: EvaluateSection
) -> None:
    """Adds precision and recall to real features [M, d]; nothing of too few images."""
    if min(images.count, len(real)) <= PRC_NEIGHBOURS:
        return
    precision, recall = precision_and_recall(images.statistics.features, real)
    entry = {**images.entry, "num_real": len(real), "k": PRC_NEIGHBOURS, "formula": PRC_FORMULA}
    for stem, value, number, resampled in (
        ("precision", precision, images.count, images.resampled),
        ("recall", recall, len(real), "the real images"),
    ):
        how = f"{resampled}, {FIXED_NEIGHBOURHOODS}"
        interval = around_share(value, number, how) if settings.bootstrap else None
        results.add(images.key(stem), value, entry, interval)
