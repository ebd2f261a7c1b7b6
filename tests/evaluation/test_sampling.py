"""Which images are drawn."""

from pathlib import Path

import pytest
import torch

from pipeline.data.manifest import Manifest
from pipeline.errors import UserError
from pipeline.evaluation.sampling import (
    BATCH,
    describe_labels,
    draw_labels,
    draw_latents,
    generate,
)
from pipeline.generator import load_generator
from tests.evaluation.subjects import write_model, write_stripes


def test_classes_are_drawn_equally_often() -> None:
    labels = draw_labels(seed=1, count=1003, num_classes=10)
    counts = labels.bincount(minlength=10)
    assert sorted(counts.tolist()) == [100] * 7 + [101] * 3
    assert describe_labels(1003, 10) == (
        "uniform: each of 10 classes 100 times, 3 classes once more"
    )
    assert describe_labels(30, 10) == "uniform: each of 10 classes 3 times"
    for stretch in labels[:1000].split(10):
        assert sorted(stretch.tolist()) == list(range(10))
    assert not torch.equal(labels[:10], labels[10:20])


def test_draws_depend_on_the_seed_alone() -> None:
    assert torch.equal(draw_labels(1, 50, 7), draw_labels(1, 50, 7))
    assert not torch.equal(draw_labels(1, 50, 7), draw_labels(2, 50, 7))
    assert not torch.equal(draw_latents(1, 50, 7), draw_latents(2, 50, 7))
    assert draw_latents(1, 4000, 8).std().item() == pytest.approx(1, abs=0.02)


def test_images_follow_their_latents_and_labels(tmp_path: Path, stripes: Manifest) -> None:
    write_model(tmp_path / "model", stripes)
    G = load_generator(tmp_path / "model" / "generator.safetensors")
    y, z = draw_labels(0, BATCH + 9, 3), draw_latents(0, BATCH + 9, 8)
    batches = list(generate(G, z, y))
    images = torch.cat([images for images, _ in batches])
    assert images.dtype == torch.uint8
    assert images.shape == (BATCH + 9, 1, 32, 32)
    assert torch.equal(torch.cat([labels for _, labels in batches]), y)
    expected = (G(z[-1:], y[-1:]) * 127.5 + 127.5).round()
    assert (images[-1:].float() - expected).abs().max() <= 1  # rounding differs between batches


def test_a_diverged_generator_is_told(tmp_path: Path) -> None:
    write_model(tmp_path / "model", write_stripes(tmp_path / "shards"))
    G = load_generator(tmp_path / "model" / "generator-raw.safetensors")
    next(iter(G.parameters())).fill_(torch.nan)
    with pytest.raises(UserError, match="the raw generator at 640 images gives values that are"):
        next(generate(G, torch.zeros(4, 8), torch.zeros(4, dtype=torch.int64)))
