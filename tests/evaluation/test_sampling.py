"""Which images are drawn."""

from pathlib import Path

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest
from pipeline.evaluation.sampling import (
    Draw,
    describe_labels,
    draw,
    draw_labels,
    draw_latents,
    generate,
)
from pipeline.training.generator import load_generator
from tests.support.subjects import write_model, write_stripes


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
    inputs = draw(0, 30, z_dim=8, num_classes=3)
    images = generate(G, inputs, range(10, 25), G.name)
    assert images.dtype == torch.uint8
    assert images.shape == (15, 1, 32, 32)
    z, y = inputs.z[24:25], inputs.y[24:25]
    expected = (G(z, y) * 127.5 + 127.5).round()
    assert (images[-1:].float() - expected).abs().max() <= 1  # rounding differs between batches


def test_a_diverged_generator_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model", write_stripes(tmp_path / "shards"))
    G = load_generator(tmp_path / "model" / "generator-raw.safetensors")
    inputs = Draw(seed=5, z=torch.zeros(4, 8), y=torch.tensor([0, 1, 2, 0]))
    inputs.z[2] = torch.inf  # one image alone is broken
    message = r"the raw generator at 640 images .* first in generated image 2 \(label 2, seed 5\)"
    with pytest.raises(UserError, match=message):
        generate(G, inputs, range(1, 4), G.name)
    next(iter(G.parameters())).fill_(torch.nan)
    with pytest.raises(UserError, match="first in generated image 1"):
        generate(G, inputs, range(1, 4), G.name)
