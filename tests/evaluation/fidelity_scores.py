"""Scores of `torch_fidelity.calculate_metrics` of two folders of images, and ours beside them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.features import FeatureStatistics
from pipeline.evaluation.metrics.frechet import fid_of_moments
from pipeline.evaluation.metrics.inception_score import inception_score
from pipeline.evaluation.metrics.kid import kid
from pipeline.evaluation.metrics.precision_recall import precision_and_recall

KID_SUBSETS = 20


def write_pngs(folder: Path, images: npt.NDArray[np.uint8]) -> str:
    """Images [N, H, W, 3] as files; returns the folder."""
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    return str(folder)


def fidelity_scores(generated: str, real: str, **options: Any) -> dict[str, float]:
    """All scores of two folders; `options` name the network, the batches and the splits."""
    scores: dict[str, float] = import_torch_fidelity("").calculate_metrics(
        input1=generated,
        input2=real,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subsets=KID_SUBSETS,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        **options,
    )
    return scores


def assert_scores(
    generated: FeatureStatistics,
    real: FeatureStatistics,
    expected: Mapping[str, float],
    *,
    is_splits: int,
    kid_subset_size: int,
    fid_error: float,
) -> None:
    """Our scores are the expected ones, FID within a share of `fid_error`."""
    distance = fid_of_moments(generated.moments, real.moments)
    assert distance == pytest.approx(expected["frechet_inception_distance"], rel=fid_error)
    mean, std = inception_score(generated.logits, is_splits)
    assert mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(expected["inception_score_std"], rel=1e-6)
    mean, std = kid(generated.features, real.features, KID_SUBSETS, kid_subset_size)
    assert mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-4)
    pair = precision_and_recall(generated.features, real.features)
    assert pair == (expected["precision"], expected["recall"])
