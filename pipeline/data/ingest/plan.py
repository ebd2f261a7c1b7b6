"""Splits a source's items into training and held-out shards, before any is decoded."""

import hashlib
from pathlib import Path

import numpy as np

from pipeline.data.ingest.data_checks import require_training_images
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.ingest.shard_task import ShardTask
from pipeline.data.shards.manifest import SPLITS
from pipeline.data.sources.source import Source

_MAX_SHARD_BYTES = 2**28
"""Largest size of a shard's pixels, which a worker holds in memory."""


def plan_shards(
    source: Source,
    preprocessing: Preprocessing,
    folder: Path,
    markers: Path,
    heldout_fraction: float,
    shard_rows: int,
) -> list[ShardTask]:
    """The tasks of `train`, then of `heldout`, each of the next items of its split.

    They write shards to `folder` and a done marker of each to `markers`. Raises UserError for a
    class without an item to train on.
    """
    row_bytes = preprocessing.resolution**2 * preprocessing.channels
    max_rows = max(1, min(shard_rows, _MAX_SHARD_BYTES // row_bytes))
    labels = source.items.labels
    heldout = np.array([is_heldout(key, heldout_fraction) for key in source.items.keys], bool)
    trained = np.bincount(labels[~heldout & (labels >= 0)], minlength=len(source.class_names))
    require_training_images(source.class_names, trained, heldout_fraction)
    tasks = []
    for split in SPLITS:
        rows = np.flatnonzero(heldout == (split == "heldout"))
        for number, start in enumerate(range(0, len(rows), max_rows)):
            name = f"{split}-{number:05}"
            tasks.append(
                ShardTask(
                    split=split,
                    path=(folder / f"{name}.arrow").absolute(),
                    done_marker=(markers / f"{name}.json").absolute(),
                    items=source.items.take(rows[start : start + max_rows]),
                    read=source.read,
                    origin=source.origin,
                    preprocessing=preprocessing,
                    num_classes=len(source.class_names),
                )
            )
    return tasks


def is_heldout(key: str, fraction: float) -> bool:
    """Whether the image of this key is held out: its hash lies in the first `fraction` of all.

    It depends on the key alone. A larger fraction holds out all that a smaller one did.
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8, person=b"sagan-heldout").digest()
    return int.from_bytes(digest, "big") < int(fraction * 2**64)
