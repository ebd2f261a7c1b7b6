"""Opens a folder of shards and gathers batches from the mapped files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest, Split, read_manifest
from pipeline.data.shards.open_shards import OpenShards, ShardFiles
from pipeline.data.shards.shard_file import Shard
from pipeline.data.shards.verify import CheckedFiles


class Rows:
    """The rows of one split, across its shards, which are opened on first use.

    Safe to use from several threads. Methods raise UserError for a shard that is damaged, and
    IndexError for rows outside of [0, N).
    """

    def __init__(
        self, files: ShardFiles, split: Split, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        self.shape = shape
        """[H, W, C] of an image."""
        self.shard_rows = tuple(entry.rows for entry in split.shards)
        """Rows of each shard, in the order of the rows."""
        self._starts = np.cumsum([0, *self.shard_rows])
        self._open = OpenShards(files, split, shape, num_classes)
        self._labels: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """All labels, [N], read-only; the first access opens every shard."""
        if self._labels is None:
            labels = np.empty(len(self), np.int32)
            for shard, (start, end) in enumerate(pairwise(self._starts.tolist())):
                with self._open.use([shard]) as shards:
                    labels[start:end] = shards[shard].labels
            labels.flags.writeable = False
            self._labels = labels
        return self._labels

    def labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Labels of rows [B], int64 [B]."""
        out = np.empty(len(rows), np.int64)
        for places, shards, within in self._visit(rows):
            out[places] = [shard.labels[row] for shard, row in zip(shards, within, strict=True)]
        return out

    def keys(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Keys of the images of rows [B]: where they came from."""
        keys = [""] * len(rows)
        for places, shards, within in self._visit(rows):
            for place, shard, row in zip(places, shards, within, strict=True):
                keys[place] = shard.keys[row].as_py()
        return keys

    def gather(
        self,
        rows: npt.NDArray[np.int64],
        out: npt.NDArray[np.uint8] | None = None,
        labels: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.uint8]:
        """Copies the images of rows [B] to `out`, uint8 [B, H, W, C], or to a new array.

        Their labels go to `labels`, int64 [B], where it is given.
        """
        if out is None:
            out = np.empty((len(rows), *self.shape), np.uint8)
        elif out.dtype != np.uint8 or len(out) != len(rows) or out.shape[1:] != self.shape:
            raise ValueError(f"out is {out.dtype} {out.shape}, not uint8 {len(rows), *self.shape}")
        for places, shards, within in self._visit(rows):
            for place, shard, row in zip(places, shards, within, strict=True):
                out[place] = shard.images[row]
            if labels is not None:
                labels[places] = [s.labels[row] for s, row in zip(shards, within, strict=True)]
        return out

    @property
    def is_bounded(self) -> bool:
        """Whether only some of the shards can be open at a time."""
        return self._open.is_bounded

    def prefetch(self, rows: npt.NDArray[np.int64], ahead: Sequence[int] = ()) -> None:
        """Opens and reads the shards of these rows, then the shards `ahead`, on threads.

        They stay open until the next call; shards beyond the capacity are left out.
        """
        shards, firsts = np.unique(self.shards_of(rows), return_index=True)
        self._open.prefetch([*shards[np.argsort(firsts)].tolist(), *ahead])

    def stop(self) -> None:
        """Ends prefetching."""
        self._open.stop()

    def check_capacity(self, rows: npt.NDArray[np.int64]) -> None:
        """Raises UserError when these rows lie in more shards than can be open at a time."""
        self._open.check_capacity(len(np.unique(self.shards_of(rows))))

    def shards_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The shard of each row, int64 [B]."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in [0, {len(self)})")
        return self._starts.searchsorted(rows, side="right") - 1

    def _visit(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[list[int], list[Shard], list[int]]]:
        """Places in `rows`, and for each its shard and its row there; the shards are open.

        All places at once, or as many as lie in shards that can be open at a time.
        """
        shards = self.shards_of(rows)
        within = rows - self._starts[shards]
        needed = np.unique(shards)
        for first in range(0, len(needed), self._open.capacity):
            part = needed[first : first + self._open.capacity]
            places = np.flatnonzero((shards >= part[0]) & (shards <= part[-1]))
            with self._open.use(part.tolist()) as opened:
                own = [opened[shard] for shard in shards[places].tolist()]
                yield places.tolist(), own, within[places].tolist()


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """An open folder of shards."""

    manifest: Manifest
    """Content of the folder."""
    train: Rows
    """The split for training."""
    heldout: Rows
    """The held-out split; empty where `heldout_fraction` was 0."""


def open_dataset(folder: str | Path, verify: Literal["size", "hash"] = "hash") -> Dataset:
    """Opens a folder; `verify` compares the files' sizes alone or their SHA-256 as well.

    A file that was hashed once is hashed again only when it changed (`CheckedFiles`). Raises
    UserError naming the file that is missing or damaged and the command that mends it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of shards; make it with `dvc repro shard`")
    manifest = read_manifest(folder)
    entries = [entry for split in manifest.splits.values() for entry in split.shards]
    CheckedFiles(folder).check(entries, hashes=verify == "hash")
    files: dict[str, ShardFiles] = {
        name: _LocalFiles(folder, split) for name, split in manifest.splits.items()
    }
    return dataset_of(manifest, files)


def dataset_of(manifest: Manifest, files: dict[str, ShardFiles]) -> Dataset:
    """The data set that a manifest describes; `files` has the files of each split."""
    shape = (manifest.resolution, manifest.resolution, manifest.channels)
    train, heldout = (
        Rows(files[name], manifest.splits[name], shape, len(manifest.class_names))
        for name in ("train", "heldout")
    )
    return Dataset(manifest=manifest, train=train, heldout=heldout)


class _LocalFiles:
    """Shards in a local folder."""

    capacity: int | None = None
    capacity_text = "a process can map no more"
    num_threads = 1

    def __init__(self, folder: Path, split: Split) -> None:
        self._folder = folder
        self._entries = split.shards

    def fetch(self, index: int) -> Path:
        return self._folder / self._entries[index].file

    def release(self, index: int) -> None:
        pass
