"""What `torch_fidelity.calculate_metrics` says of two folders of images, and what ours must be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.frechet import fid
from pipeline.evaluation.metrics.scores import inception_score, kid, precision_and_recall

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
    generated: Collected,
    real: Collected,
    expected: Mapping[str, float],
    *,
    is_splits: int,
    kid_subset_size: int,
    fid_error: float,
) -> None:
    """Our scores are the expected ones, FID within a share of `fid_error`."""
    distance = fid(generated.moments, real.moments)
    assert distance == pytest.approx(expected["frechet_inception_distance"], rel=fid_error)
    score = inception_score(generated.logits, is_splits)
    assert score.mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert score.std == pytest.approx(expected["inception_score_std"], rel=1e-6)
    kernel = kid(generated.features, real.features, KID_SUBSETS, kid_subset_size)
    assert kernel.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert kernel.std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-4)
    pair = precision_and_recall(generated.features, real.features)
    assert pair == (expected["precision"], expected["recall"])
