"""Divides a source's items into shards, before any of them is decoded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.data.ingest.preprocessing import Preprocessing
from pipeline.data.ingest.shard_task import ShardTask
from pipeline.data.ingest.split import is_heldout
from pipeline.data.shards.manifest import SPLITS
from pipeline.data.sources.source import Source

_MAX_SHARD_BYTES = 2**28
"""Pixels of one shard: what a worker holds in memory while its shard fills."""


def plan_shards(
    source: Source,
    preprocessing: Preprocessing,
    folder: Path,
    receipts: Path,
    heldout_fraction: float,
    shard_rows: int,
) -> list[ShardTask]:
    """The tasks of the splits in turn: each takes the next items of its split.

    Shards will be written to `folder`, and of each a receipt to `receipts`. Raises UserError for a
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
                    receipt=(receipts / f"{name}.json").absolute(),
                    items=source.items.take(rows[start : start + max_rows]),
                    read=source.read,
                    origin=source.origin,
                    preprocessing=preprocessing,
                    num_classes=len(source.class_names),
                )
            )
    return tasks


def require_training_images(
    class_names: Sequence[str], counts: npt.NDArray[np.int64], heldout_fraction: float
) -> None:
    """Raises UserError for the first class of which there are none."""
    for name, count in zip(class_names, counts.tolist(), strict=True):
        if count == 0:
            raise UserError(
                f"class {name!r} has no image left to train on at data.heldout_fraction "
                f"{heldout_fraction}; add images, lower the fraction, raise data.limit or leave it "
                "out of data.classes"
            )
