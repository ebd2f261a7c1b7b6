"""Small data sets and models to evaluate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.configuration import GeneratorConfig
from models.generator import Generator
from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import Manifest
from pipeline.data.shards.reader import Dataset
from pipeline.data.sources.arrays import array_source
from pipeline.evaluation.extractors.weights import WeightSources
from pipeline.evaluation.reference.compute import Made, make_references
from pipeline.training.snapshot import prepare_for_sampling, write_snapshot

NUM_CLASSES = 3
RUN_KEY = "ab" * 32


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
        Preprocessing(resolution=resolution, channels=channels),
        heldout_fraction=heldout_fraction,
        shard_rows=50,
    )


def write_references(dataset: Dataset, out: Path, **changes: Any) -> list[Made]:
    """Under a `dataset-cnn` of one epoch; `changes` are other arguments of `make_references`."""
    arguments: dict[str, Any] = {
        "extractors": ["dataset-cnn"],
        "sources": WeightSources(),
        "cnn_epochs": 1,
        "seed": 0,
        "device": "cpu",
        **changes,
    }
    return make_references(dataset, out, **arguments)


def write_model(folder: Path, manifest: Manifest) -> None:
    """An untrained generator as the train stage exports it, averaged and raw ones differing."""
    folder.mkdir(parents=True)
    for name, ema in (("generator", True), ("generator-raw", False)):
        path = folder / f"{name}.safetensors"
        write_untrained(path, manifest, seed=int(ema), nimg=640, ema=ema)
    facts = json.dumps(_facts(manifest, 640))
    (folder / "config.json").write_text(facts, encoding="utf-8")
    (folder / "stats.jsonl").touch()


def write_untrained(path: Path, manifest: Manifest, *, seed: int, nimg: int, ema: bool) -> None:
    """A snapshot of a small generator with drawn weights, said to have seen `nimg` images."""
    config = GeneratorConfig(
        resolution=manifest.resolution,
        image_channels=manifest.channels,
        num_classes=len(manifest.class_names),
        z_dim=8,
        width=2,
        attention=(16,),
        spectral_norm=False,
    )
    G = Generator(config)
    G.initialize(torch.Generator().manual_seed(seed))
    sampled = prepare_for_sampling(G, seed=0, nimg=nimg, batch=16)
    write_snapshot(path, sampled, {**_facts(manifest, nimg), "ema": ema})


def _facts(manifest: Manifest, nimg: int) -> dict[str, Any]:
    return {
        "nimg": nimg,
        "run_key": RUN_KEY,
        "dataset_digest": manifest.digest,
        "dataset_name": manifest.name,
        "class_names": list(manifest.class_names),
    }
