"""Random images on disk, once in each layout that the loaders' benchmark reads."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.data.shards.manifest import (
    FORMAT_VERSION,
    Manifest,
    ShardEntry,
    Split,
    identity_digest,
    write_manifest,
)
from pipeline.data.shards.shard_file import write_shard
from pipeline.storage.digest import sha256_file

NUM_CLASSES = 10
_CHUNK = 500


def image_chunks(num_images: int, resolution: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Random images, uint8 [<= 500, H, W, 3] at a time, always the same."""
    generator = np.random.default_rng(0)
    for start in range(0, num_images, _CHUNK):
        count = min(_CHUNK, num_images - start)
        yield generator.integers(0, 256, (count, resolution, resolution, 3), np.uint8)


def labels_of(num_images: int) -> npt.NDArray[np.int32]:
    """Labels that go round."""
    return (np.arange(num_images) % NUM_CLASSES).astype(np.int32)


def write_raw(path: Path, num_images: int, resolution: int) -> npt.NDArray[np.uint8]:
    """One file of nothing but pixels, mapped, [N, H, W, 3]."""
    with path.open("wb") as file:
        for images in image_chunks(num_images, resolution):
            file.write(images)
    return np.memmap(path, np.uint8, "r", shape=(num_images, resolution, resolution, 3))


def write_shards(folder: Path, images: npt.NDArray[np.uint8], num_shards: int) -> Path:
    """The project's shards of the images [N, H, W, 3]; returns the folder."""
    folder.mkdir()
    labels = labels_of(len(images))
    entries = []
    for index, rows in enumerate(np.array_split(np.arange(len(images)), num_shards)):
        path = folder / f"train-{index:05}.arrow"
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        write_shard(path, images[part], labels[part], [f"random/{row:08}.png" for row in rows])
        entries.append(
            ShardEntry(
                file=path.name,
                rows=len(rows),
                bytes=path.stat().st_size,
                sha256=sha256_file(path),
            )
        )
    counts = tuple(np.bincount(labels, minlength=NUM_CLASSES).tolist())
    train = Split(rows=len(images), class_counts=counts, shards=tuple(entries))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="random",
        resolution=images.shape[1],
        channels=3,
        class_names=tuple(f"class {label}" for label in range(NUM_CLASSES)),
        rows=len(images),
        splits={
            "train": train,
            "heldout": Split(rows=0, class_counts=(0,) * NUM_CLASSES, shards=()),
        },
        source={"kind": "random"},
        preprocessing={"resize": "none", "versions": {}},
        digest="",
    )
    write_manifest(folder, dataclasses.replace(manifest, digest=identity_digest(manifest)))
    return folder


def drop_from_page_cache(folder: Path) -> None:
    """Makes files that nobody has mapped cold; they are on disk afterwards."""
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
