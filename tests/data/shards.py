"""Small folders of shards for the tests of this room."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.data.ingest import write_dataset
from pipeline.data.manifest import Manifest
from pipeline.data.sources.source import Sample, Source

RESOLUTION = 4
CHANNELS = 3


def random_samples(count: int, num_classes: int, seed: int = 0) -> list[Sample]:
    """Random images uint8 [4, 4, 3]; labels go round; keys are not ASCII."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, RESOLUTION, RESOLUTION, CHANNELS), np.uint8)
    return [(f"caf\u00e9/{i}.png", images[i], i % num_classes) for i in range(count)]


def write_samples(
    samples: list[Sample],
    out: Path,
    *,
    num_classes: int,
    shard_rows: int,
    heldout_fraction: float = 0.25,
    name: str = "random",
) -> Manifest:
    """Writes the samples as shards."""

    def read() -> Iterator[Sample]:
        yield from samples

    source = Source(
        name=name,
        class_names=tuple(f"class {label}" for label in range(num_classes)),
        samples=read,
        origin={"kind": "test", "path": str(out)},
        preprocessing={"resize": "none", "versions": {"numpy": np.__version__}},
    )
    return write_dataset(
        source,
        out,
        resolution=RESOLUTION,
        channels=CHANNELS,
        heldout_fraction=heldout_fraction,
        shard_rows=shard_rows,
    )
