"""All scores against `torch_fidelity.calculate_metrics` on more images than features.

Its Inception would take minutes for as many; a small network of ours registers beside it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.features import FeatureStatistics
from pipeline.evaluation.metrics.moments import Moments
from tests.evaluation.fidelity_scores import assert_scores, fidelity_scores, write_pngs

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


def _draw(seed: int, contrast: float, darkest: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    tints = random.uniform(darkest, 255, (COUNT, 1, 1, 3))
    noise = contrast * random.normal(0, 60, (COUNT, 16, 16, 3))
    return np.clip(tints + noise, 0, 255).astype(np.uint8)


def _collect(images: np.ndarray, batch: int) -> FeatureStatistics:
    network = SmallNetwork()
    parts = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().split(batch)
    with torch.inference_mode():
        found = [network(part) for part in parts]
    features, logits = (torch.cat(each).numpy() for each in zip(*found, strict=True))
    return FeatureStatistics(
        moments=Moments.of(features), features=features, logits=logits, labels=None
    )


def test_scores_of_more_images_than_features(registered: str, tmp_path: Path) -> None:
    generated, real = _draw(0, contrast=0.7, darkest=90), _draw(1, contrast=1.0, darkest=0)
    expected = fidelity_scores(
        write_pngs(tmp_path / "generated", generated),
        write_pngs(tmp_path / "real", real),
        feature_extractor=registered,
        isc_splits=3,
        kid_subset_size=100,
        batch_size=50,
    )
    # The same batches in the same order: others may round otherwise.
    ours, theirs = _collect(generated, batch=50), _collect(real, batch=50)
    assert_scores(ours, theirs, expected, is_splits=3, kid_subset_size=100, fid_error=1e-6)
    assert 0 < expected["precision"] < 1
    assert 0 < expected["recall"] < 1
