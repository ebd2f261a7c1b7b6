"""Small data sets and models to evaluate."""

import json
from pathlib import Path

import numpy as np
import torch

from models.configuration import GeneratorConfig
from models.generator import Generator
from pipeline.data.ingest import write_dataset
from pipeline.data.manifest import Manifest
from pipeline.data.recipe import Recipe
from pipeline.data.sources.arrays import array_source
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot

NUM_CLASSES = 3


def write_stripes(
    folder: Path,
    *,
    per_class: int = 30,
    resolution: int = 32,
    channels: int = 1,
    heldout_fraction: float = 0.25,
    seed: int = 0,
    num_classes: int = NUM_CLASSES,
) -> Manifest:
    """Shards of up to three classes: on noise a bright stripe, left, in the middle or right."""
    random = np.random.default_rng(seed)
    labels = [i % num_classes for i in range(per_class * num_classes)]
    images = []
    for label in labels:
        image = random.integers(0, 120, (resolution, resolution, channels), np.uint8)
        left = resolution * (2 + 5 * label) // 16
        image[:, left : left + resolution // 8] += 120
        images.append(image)
    source = array_source(
        "stripes",
        ("left", "middle", "right")[:num_classes],
        [f"{seed}/{i}" for i in range(len(labels))],
        images,
        labels,
        origin={"kind": "made", "path": str(folder)},
        preprocessing={"resize": "none"},
    )
    return write_dataset(
        source,
        folder,
        Recipe(resolution=resolution, channels=channels),
        heldout_fraction=heldout_fraction,
        shard_rows=50,
    )


def write_model(folder: Path, manifest: Manifest) -> None:
    """An untrained generator as the train stage exports it, averaged and raw ones differing."""
    config = GeneratorConfig(
        resolution=manifest.resolution,
        image_channels=manifest.channels,
        num_classes=len(manifest.class_names),
        z_dim=8,
        width=2,
        attention=(16,),
        spectral_norm=False,
    )
    facts = {
        "nimg": 640,
        "run_key": "ab" * 32,
        "dataset_digest": manifest.digest,
        "dataset_name": manifest.name,
        "class_names": list(manifest.class_names),
    }
    folder.mkdir(parents=True)
    for name, ema in (("generator", True), ("generator-raw", False)):
        G = Generator(config)
        G.initialize(torch.Generator().manual_seed(int(ema)))
        sampled = prepare_for_sampling(G, seed=0, nimg=640, batch=16)
        write_snapshot(folder / f"{name}.safetensors", sampled, {**facts, "ema": ema})
    (folder / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "stats.jsonl").touch()
