"""Extraction of features: what is kept, and what ends it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import Preempted, UserError
from pipeline.data.shards.reader import open_dataset
from pipeline.evaluation.executor import ParallelExecutor
from pipeline.evaluation.extraction import extract_generated, extract_real
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.sampling import draw
from pipeline.training.generator import load_generator
from tests.support.evaluated_models import Prepared


def _means(broken: float | None) -> Extractor:
    """Gives the mean pixel, or nan where it is at most `broken`."""

    def extract(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.float().mean(dim=(1, 2, 3))[:, None]
        if broken is not None:
            means = torch.where(means <= broken, torch.nan, means)
        return means, means[:, :0]

    return Extractor(
        name="means",
        weights_sha256="ab" * 32,
        official=False,
        feature_dim=1,
        resize="none",
        extract=extract,
    )


def test_the_real_image_is_named(prepared: Prepared) -> None:
    rows = open_dataset(prepared.shards).train
    seen = extract_real(rows, [_means(None)], ParallelExecutor(), max_kept=None).statistics[0]
    darkest = int(seen.features.argmin())
    key = rows.keys(np.array([darkest]))[0]
    broken = _means(float(seen.features.min()))
    with pytest.raises(UserError, match=f"means gives .* for image {key}; leave that image out"):
        extract_real(rows, [broken], ParallelExecutor(num_threads=2), max_kept=None)
    with pytest.raises(UserError, match=r"its weights \(SHA-256 abababababab\) are damaged"):
        extract_real(rows, [_means(255)], ParallelExecutor(), max_kept=None)


def test_the_generated_image_is_named(prepared: Prepared) -> None:
    G = load_generator(prepared.model / "generator.safetensors")
    inputs = draw(7, 230, G.z_dim, G.num_classes)
    seen = extract_generated(G, inputs, [_means(None)], ParallelExecutor(), G.name).statistics[0]
    darkest = int(seen.features.argmin())
    broken = _means(float(seen.features.min()))
    message = rf"generated image {darkest} \(label {inputs.y[darkest]}, seed 7\); leave"
    with pytest.raises(UserError, match=message):
        extract_generated(G, inputs, [broken], ParallelExecutor(num_threads=3), G.name)


def test_features_may_lie_on_the_disk(prepared: Prepared, tmp_path: Path) -> None:
    rows = open_dataset(prepared.shards).train
    inside, outside = (
        extract_real(
            rows, [_means(None)], ParallelExecutor(), max_kept=40, scratch=scratch
        ).statistics[0]
        for scratch in (None, tmp_path)
    )
    assert isinstance(outside.features, np.memmap)
    np.testing.assert_array_equal(inside.features, outside.features)
    assert inside.logits.shape == outside.logits.shape == (40, 0)
    assert inside.features.shape == (40, 1)
    assert inside.moments.count == outside.moments.count == len(rows)


def test_a_reason_to_stop_ends_it(prepared: Prepared) -> None:
    rows = open_dataset(prepared.shards).train
    with pytest.raises(Preempted, match="SIGTERM; run the same command to begin again"):
        extract_real(
            rows, [_means(None)], ParallelExecutor(should_stop=lambda: "SIGTERM"), max_kept=None
        )
