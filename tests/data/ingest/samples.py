"""Small folders of shards for the tests of ingest."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.ingest.dataset import write_dataset
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.shards.manifest import Manifest
from pipeline.data.sources.arrays import array_source
from pipeline.data.sources.source import Source

RESOLUTION = 4
CHANNELS = 3
PREPROCESSING = Preprocessing(resolution=RESOLUTION, channels=CHANNELS)

Sample = tuple[str, npt.NDArray[np.uint8], int]
"""Key, image uint8 [H, W, C], label."""


def random_samples(count: int, num_classes: int, seed: int = 0) -> list[Sample]:
    """Random images uint8 [4, 4, 3]; labels go round; keys are not ASCII."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, RESOLUTION, RESOLUTION, CHANNELS), np.uint8)
    return [(f"caf\u00e9/{i}.png", images[i], i % num_classes) for i in range(count)]


def sample_source(samples: list[Sample], num_classes: int, name: str = "random") -> Source:
    """The samples as a source."""
    keys, images, labels = zip(*samples, strict=True)
    return array_source(
        name,
        [f"class {label}" for label in range(num_classes)],
        keys,
        images,
        labels,
        origin={"kind": "test"},
        preprocessing={"resize": "none"},
    )


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
    return write_dataset(
        sample_source(samples, num_classes, name),
        out,
        PREPROCESSING,
        heldout_fraction=heldout_fraction,
        shard_rows=shard_rows,
    )
