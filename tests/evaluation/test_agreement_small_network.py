"""All scores against `torch_fidelity.calculate_metrics` on more images than features.

Its Inception would take minutes for as many; a small network of ours registers beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics.frechet import fid
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.metrics.scores import inception_score, kid, precision_and_recall

COUNT, DIM = 300, 24
NAME = "small-random"


class SmallNetwork(nn.Module):
    """Random, seeded: images uint8 (B, 3, R, R) -> features (B, 24) and logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.filters = nn.Parameter(torch.randn(DIM, 3, 5, 5, generator=random) / 75**0.5)
        self.classes = nn.Parameter(torch.randn(DIM, 10, generator=random))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (images.float() - 128) / 128
        features = torch.conv2d(x, self.filters, stride=2).relu().mean(dim=(2, 3))
        return features, features @ self.classes


@pytest.fixture(scope="module")
def registered() -> str:
    """Makes torch-fidelity know the network; returns its name."""
    fidelity = import_torch_fidelity("")
    base: Any = import_torch_fidelity("feature_extractor_base").FeatureExtractorBase

    class Registered(base):  # type: ignore[misc]
        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)
            self.network = SmallNetwork()

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return "features", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        @staticmethod
        def get_dummy_input_for_compile() -> torch.Tensor:
            return torch.zeros(1, 3, 4, 4, dtype=torch.uint8)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            by_name = dict(zip(("features", "logits"), self.network(images), strict=True))
            return tuple(by_name[name] for name in self.features_list)

    fidelity.register_feature_extractor(NAME, Registered)
    return NAME


def _write(folder: Path, seed: int, contrast: float, darkest: int) -> torch.Tensor:
    random = np.random.default_rng(seed)
    folder.mkdir()
    tints = random.uniform(darkest, 255, (COUNT, 1, 1, 3))
    noise = contrast * random.normal(0, 60, (COUNT, 16, 16, 3))
    images = np.clip(tints + noise, 0, 255).astype(np.uint8)
    for index, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{index:03}.png")
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()


def test_scores_of_more_images_than_features(registered: str, tmp_path: Path) -> None:
    generated = _write(tmp_path / "generated", 0, contrast=0.7, darkest=90)
    real = _write(tmp_path / "real", 1, contrast=1.0, darkest=0)
    expected = import_torch_fidelity("").calculate_metrics(
        input1=str(tmp_path / "generated"),
        input2=str(tmp_path / "real"),
        feature_extractor=registered,
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        isc_splits=3,
        kid_subsets=20,
        kid_subset_size=100,
        cuda=False,
        cache=False,
        save_cpu_ram=True,
        verbose=False,
        batch_size=50,
    )
    network = SmallNetwork()
    with torch.inference_mode():
        # The same batches in the same order in memory: others may round otherwise.
        parts = [[network(part) for part in images.split(50)] for images in (generated, real)]
    features = [torch.cat([f for f, _ in part]).numpy() for part in parts]
    logits = torch.cat([logit for _, logit in parts[0]]).numpy()

    moments = [Moments.of(each) for each in features]
    assert fid(*moments) == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    score = inception_score(logits, 3)
    assert score.mean == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert score.std == pytest.approx(expected["inception_score_std"], rel=1e-6)
    distance = kid(features[0], features[1], 20, 100)
    assert distance.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert distance.std == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-4)
    pair = precision_and_recall(features[0], features[1])
    assert pair == (expected["precision"], expected["recall"])
    assert 0 < expected["precision"] < 1
    assert 0 < expected["recall"] < 1
