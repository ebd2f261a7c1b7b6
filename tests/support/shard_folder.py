"""Folders of shards written directly, without a source or its ingest."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written of one split."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int32]
    keys: list[str]


def write_folder(
    folder: Path,
    *,
    train: Sequence[int],
    heldout: Sequence[int] = (),
    shape: tuple[int, int, int] = (4, 4, 3),
    num_classes: int = 2,
    seed: int = 0,
) -> dict[str, Written]:
    """Writes shards of these many random images each; labels go round, keys are not ASCII."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    written, splits = {}, {}
    for name, sizes in {"train": train, "heldout": heldout}.items():
        total = sum(sizes)
        split = Written(
            images=generator.integers(0, 256, (total, *shape), np.uint8),
            labels=(np.arange(total) % num_classes).astype(np.int32),
            keys=[f"caf\u00e9/{name}/{i}.png" for i in range(total)],
        )
        entries, start = [], 0
        for index, size in enumerate(sizes):
            path, rows = folder / f"{name}-{index:05}.arrow", slice(start, start + size)
            write_shard(path, split.images[rows], split.labels[rows], split.keys[rows])
            entries.append(
                ShardEntry(
                    file=path.name, rows=size, bytes=path.stat().st_size, sha256=sha256_file(path)
                )
            )
            start += size
        counts = np.bincount(split.labels, minlength=num_classes)
        written[name] = split
        splits[name] = Split(rows=total, class_counts=tuple(counts.tolist()), shards=tuple(entries))
    write_manifest(folder, make_manifest(splits, shape, num_classes))
    return written


def make_manifest(
    splits: dict[str, Split], shape: tuple[int, int, int], num_classes: int
) -> Manifest:
    """A manifest of these splits, with its digest."""
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name="random",
        resolution=shape[0],
        channels=shape[2],
        class_names=tuple(f"class {label}" for label in range(num_classes)),
        rows=sum(split.rows for split in splits.values()),
        splits=splits,
        source={"kind": "test"},
        preprocessing={"resize": "none", "versions": {"numpy": np.__version__}},
        digest="",
    )
    return dataclasses.replace(manifest, digest=identity_digest(manifest))
