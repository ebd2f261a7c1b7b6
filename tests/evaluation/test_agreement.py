"""Our loop and arithmetic against `torch_fidelity.calculate_metrics` on the same files."""

from pathlib import Path

import numpy as np
import torch

from pipeline.evaluation.extractors.inception import open_inception
from pipeline.evaluation.features import FeatureAccumulator, FeatureStatistics
from tests.evaluation.fidelity_scores import assert_scores, fidelity_scores, write_pngs

COUNT = 8


def _pictures(seed: int, contrast: float) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(COUNT, 3, 6, 6, generator=random)
    smooth = torch.nn.functional.interpolate(coarse, size=48, mode="bicubic").clamp(0, 1)
    return (255 * (0.5 + contrast * (smooth - 0.5))).round().to(torch.uint8)


def _collect(images: torch.Tensor, inception_file: Path) -> FeatureStatistics:
    extractor = open_inception(str(inception_file), "cpu")
    accumulator = FeatureAccumulator(extractor.name, extractor.feature_dim)
    for part in images.split(5):
        features, logits = (found.numpy() for found in extractor.extract(part))
        accumulator.add(features, logits, np.zeros(len(part), np.int64))
    return accumulator.statistics()


def test_scores_are_those_of_calculate_metrics(tmp_path: Path, inception_file: Path) -> None:
    generated, real = _pictures(0, contrast=0.7), _pictures(1, contrast=1.0)
    expected = fidelity_scores(
        write_pngs(tmp_path / "generated", generated.permute(0, 2, 3, 1).numpy()),
        write_pngs(tmp_path / "real", real.permute(0, 2, 3, 1).numpy()),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception_file),
        isc_splits=2,
        kid_subset_size=6,
        batch_size=5,
    )
    ours, theirs = _collect(generated, inception_file), _collect(real, inception_file)
    # theirs: means in float32, and 2048 dimensions seen by 8 images
    assert_scores(ours, theirs, expected, is_splits=2, kid_subset_size=6, fid_error=2e-5)
    assert expected["frechet_inception_distance"] > 1  # the sets do differ under these weights


def test_grey_images_are_seen_as_three_equal_channels(inception_file: Path) -> None:
    grey = _pictures(2, contrast=1.0)[:1, :1]
    extractor = open_inception(str(inception_file), "cpu")
    features, logits = extractor.extract(grey)
    assert (features.shape, logits.shape) == ((1, 2048), (1, 1008))
    np.testing.assert_array_equal(features, extractor.extract(grey.repeat(1, 3, 1, 1))[0])
