"""Writes a source's images as a folder of shards that appears whole or not at all."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.data.manifest import (
    FORMAT_VERSION,
    MANIFEST_FILE,
    SHARD_FILE,
    SPLITS,
    Manifest,
    ShardEntry,
    Split,
    identity_digest,
    write_manifest,
)
from pipeline.data.shard_file import write_shard
from pipeline.data.sources.source import Source
from pipeline.data.split import is_heldout
from pipeline.errors import UserError
from pipeline.storage.atomic import atomic_write
from pipeline.storage.digest import sha256_file

_MAX_SHARD_BYTES = 2**28
"""Pixels of one shard: what a split holds in memory while its shard fills."""


class _SplitWriter:
    """Collects the rows of one split and writes a shard whenever one is full."""

    def __init__(
        self, folder: Path, name: str, shape: tuple[int, int, int], num_classes: int, max_rows: int
    ) -> None:
        self._folder = folder
        self._name = name
        # Memory that no row has touched yet costs nothing.
        self._images = np.empty((max_rows, *shape), np.uint8)
        self._labels: list[int] = []
        self._keys: list[str] = []
        self._shards: list[ShardEntry] = []
        self._class_counts = np.zeros(num_classes, np.int64)

    def add(self, key: str, image: npt.NDArray[np.uint8], label: int) -> None:
        assert image.shape == self._images.shape[1:]
        self._images[len(self._keys)] = image
        self._labels.append(label)
        self._keys.append(key)
        self._class_counts[label] += 1
        if len(self._keys) == len(self._images):
            self._flush()

    def finish(self) -> Split:
        if self._keys:
            self._flush()
        return Split(
            rows=int(self._class_counts.sum()),
            class_counts=tuple(self._class_counts.tolist()),
            shards=tuple(self._shards),
        )

    def _flush(self) -> None:
        rows = len(self._keys)
        path = self._folder / f"{self._name}-{len(self._shards):05}.arrow"
        with atomic_write(path) as tmp:
            write_shard(tmp, self._images[:rows], np.array(self._labels, np.int32), self._keys)
        entry = ShardEntry(
            file=path.name, rows=rows, bytes=path.stat().st_size, sha256=sha256_file(path)
        )
        self._shards.append(entry)
        self._labels.clear()
        self._keys.clear()


def write_dataset(
    source: Source,
    out: Path,
    *,
    resolution: int,
    channels: int,
    heldout_fraction: float,
    shard_rows: int,
) -> Manifest:
    """Writes shards of at most `shard_rows` images, then the manifest, to the folder `out`.

    The source's images are uint8 [resolution, resolution, channels]. An earlier folder of shards
    is replaced at the end. Raises UserError where `out` holds anything else, where the source's
    images cannot be read, and where a class has no image to train on.
    """
    _check_replaceable(out)
    tmp = out.with_name(out.name + ".tmp")
    shutil.rmtree(tmp, ignore_errors=True)
    try:
        tmp.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{tmp} cannot be made ({error.strerror}); choose another --out") from None
    try:
        manifest = _write(source, tmp, resolution, channels, heldout_fraction, shard_rows)
        if out.exists():
            shutil.rmtree(out)  # checked above: nothing but shards was in it
        os.replace(tmp, out)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return manifest


def _write(
    source: Source,
    folder: Path,
    resolution: int,
    channels: int,
    heldout_fraction: float,
    shard_rows: int,
) -> Manifest:
    shape = (resolution, resolution, channels)
    max_rows = max(1, min(shard_rows, _MAX_SHARD_BYTES // int(np.prod(shape))))
    num_classes = len(source.class_names)
    writers = {name: _SplitWriter(folder, name, shape, num_classes, max_rows) for name in SPLITS}
    for key, image, label in source.samples():
        name = "heldout" if is_heldout(key, heldout_fraction) else "train"
        writers[name].add(key, image, label)
    splits = {name: writer.finish() for name, writer in writers.items()}
    for name, count in zip(source.class_names, splits["train"].class_counts, strict=True):
        if count == 0:
            raise UserError(
                f"class {name!r} has no image left to train on at data.heldout_fraction "
                f"{heldout_fraction}; add images or lower the fraction"
            )
    versions = {**source.preprocessing["versions"], "pyarrow": pa.__version__}
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=source.name,
        resolution=resolution,
        channels=channels,
        class_names=source.class_names,
        rows=sum(split.rows for split in splits.values()),
        splits=splits,
        source=source.origin,
        preprocessing={
            **source.preprocessing,
            "heldout_fraction": float(heldout_fraction),
            "versions": versions,
        },
        digest="",
    )
    manifest = dataclasses.replace(manifest, digest=identity_digest(manifest))
    write_manifest(folder, manifest)
    return manifest


def _check_replaceable(out: Path) -> None:
    if out.is_symlink():
        raise UserError(f"{out} is a link; --out must be a folder that can be replaced")
    if out.is_dir():
        for entry in out.iterdir():
            if entry.name != MANIFEST_FILE and not SHARD_FILE.fullmatch(entry.name):
                raise UserError(
                    f"{out} holds {entry.name}, which is no shard; choose another --out or empty it"
                )
    elif out.exists():
        raise UserError(f"{out} is a file; --out must be the shards' folder")
