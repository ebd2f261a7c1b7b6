"""Our loop and arithmetic against `torch_fidelity.calculate_metrics` on the same files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.evaluation.collector import Collected, Collector, extract
from pipeline.evaluation.extractors.inception import open_inception
from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.frechet import fid
from pipeline.evaluation.metrics.scores import inception_score, kid, precision_and_recall

COUNT = 8


def _pictures(seed: int, contrast: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(COUNT, 3, 6, 6, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1)
    return (255 * (0.5 + contrast * (smooth - 0.5))).round().to(torch.uint8)


def _write(folder: Path, images: torch.Tensor) -> str:
    folder.mkdir()
    for index, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    return str(folder)


def _collect(images: torch.Tensor, inception_file: Path) -> Collected:
    extractor = open_inception(str(inception_file), "cpu")
    collector = Collector(extractor)
    for part in images.split(5):
        collector.take(*extract(extractor, part), np.zeros(len(part), np.int64))
    return collector.collected()


def test_scores_are_those_of_calculate_metrics(tmp_path: Path, inception_file: Path) -> None:
    generated, real = _pictures(0, contrast=0.7), _pictures(1, contrast=1.0)
    expected = import_torch_fidelity("").calculate_metrics(
        input1=_write(tmp_path / "generated", generated),
        input2=_write(tmp_path / "real", real),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception_file),
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        isc_splits=2,
        kid_subsets=20,
        kid_subset_size=6,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=5,
    )
    ours, theirs = _collect(generated, inception_file), _collect(real, inception_file)

    # theirs: means in float32, and 2048 dimensions seen by 8 images
    expected_fid = expected["frechet_inception_distance"]
    assert fid(ours.moments, theirs.moments) == pytest.approx(expected_fid, rel=2e-5)
    score = inception_score(ours.logits, splits=2)
    assert score.mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert score.std == pytest.approx(expected["inception_score_std"], rel=1e-6)
    distance = kid(ours.features, theirs.features, subsets=20, subset_size=6)
    assert distance.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert distance.std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-4)
    pair = precision_and_recall(ours.features, theirs.features)
    assert pair == (expected["precision"], expected["recall"])
    assert expected_fid > 1  # the two sets do differ under these weights


def test_grey_images_are_seen_as_three_equal_channels(inception_file: Path) -> None:
    grey = _pictures(2, contrast=1.0)[:1, :1]
    extractor = open_inception(str(inception_file), "cpu")
    features, logits = extractor.extract(grey)
    assert (features.shape, logits.shape) == ((1, 2048), (1, 1008))
    np.testing.assert_array_equal(features, extractor.extract(grey.repeat(1, 3, 1, 1))[0])
