"""Checks every byte of a folder of shards: `python -m stages.shard --verify data/shards`."""

from pathlib import Path

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest, ShardEntry, Split, read_manifest
from pipeline.data.shards.shard_file import damaged, open_shard
from pipeline.storage.digest import sha256_file


def verify_shards(folder: Path) -> Manifest:
    """Compares the manifest with its own digest and each shard with the manifest; records nothing.

    Of a shard: size, SHA-256, columns, range of the labels, keys; of a split: images of each class.
    Raises UserError naming the first file that is missing or damaged, and the cure.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of shards; make it with `dvc repro shard`")
    manifest = read_manifest(folder)
    for split in manifest.splits.values():
        _verify_split(folder, manifest, split)
    return manifest


def _verify_split(folder: Path, manifest: Manifest, split: Split) -> None:
    shape = (manifest.resolution, manifest.resolution, manifest.channels)
    num_classes = len(manifest.class_names)
    counts = np.zeros(num_classes, np.int64)
    for entry in split.shards:
        path = folder / entry.file
        _verify_bytes(path, entry)
        shard = open_shard(path, entry.rows, shape)
        if shard.labels.min() < 0 or shard.labels.max() >= num_classes:
            raise damaged(path, "it has unknown labels")
        if "" in shard.keys.unique().to_pylist():
            raise damaged(path, "an image has no key")
        counts += np.bincount(shard.labels, minlength=num_classes)
    if counts.tolist() != list(split.class_counts):
        names = ", ".join(entry.file for entry in split.shards)
        raise damaged(folder, f"the labels of {names} are not the manifest's")


def _verify_bytes(path: Path, entry: ShardEntry) -> None:
    try:
        size = path.stat().st_size
        if size != entry.bytes:
            raise damaged(path, f"it has {size} bytes, not {entry.bytes}")
        if sha256_file(path) != entry.sha256:
            raise damaged(path, "its SHA-256 is not the manifest's")
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make it with `dvc repro shard`") from None
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from None
