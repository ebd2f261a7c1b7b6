"""Opens a folder of shards and gathers batches from the mapped files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError
from pipeline.data.shards.checked_files import CheckedFiles
from pipeline.data.shards.manifest import Manifest, Split, read_manifest
from pipeline.data.shards.open_shards import OpenShards, ShardFiles
from pipeline.data.shards.shard_file import open_shard

_UINT8 = np.dtype(np.uint8)


class Rows:
    """The rows of one split, across its shards, which are opened as they are needed.

    Threads may share it. Its methods raise UserError for a shard that turns out to be damaged.
    """

    def __init__(
        self, files: ShardFiles, split: Split, shape: tuple[int, int, int], num_classes: int
    ) -> None:
        self.shape = shape
        """[H, W, C] of an image."""
        self.shard_rows = tuple(entry.rows for entry in split.shards)
        """Rows of each shard, in the order of the rows."""
        self._files = files
        self._starts = np.cumsum([0, *self.shard_rows])
        self._num_rows = int(self._starts[-1])
        sizes = set(self.shard_rows[:-1])
        self._equal_rows = self.shard_rows[0] if self.shard_rows else None
        if len(sizes) > 1 or (self.shard_rows and self.shard_rows[-1] > self.shard_rows[0]):
            self._equal_rows = None
        self._open = OpenShards(files, split, shape, num_classes)
        self._labels: npt.NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return self._num_rows

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """All labels, [N], read-only; the first time it opens every shard."""
        if self._labels is None:
            labels = np.empty(len(self), np.int32)
            for index, (start, end) in enumerate(
                zip(self._starts[:-1], self._starts[1:], strict=True)
            ):
                with self._open.use([index]):
                    places = slice(*(self._open.deltas[index] + (start, end)))
                    labels[start:end] = self._open.labels[places]
            labels.flags.writeable = False
            self._labels = labels
        return self._labels

    def labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Labels of rows [B], int64 [B]; raises IndexError outside of [0, N)."""
        out = np.empty(len(rows), np.int64)
        self._take(rows, out, labels=True)
        return out

    def keys(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Where the images of these rows came from; raises IndexError outside of [0, N)."""
        rows = np.asarray(rows, np.int64)
        shards = self._shards_of(rows)
        keys = [""] * len(rows)
        for shard in np.unique(shards).tolist():
            path = self._files.fetch(shard)
            try:
                column = open_shard(path, self.shard_rows[shard], self.shape).keys
                for place in np.flatnonzero(shards == shard).tolist():
                    keys[place] = column[int(rows[place] - self._starts[shard])].as_py()
            finally:
                self._files.release(shard)
        return keys

    def gather(
        self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Copies images of rows int64 [B] to `out`, uint8 [B, H, W, C], made where it is None.

        Rows may repeat and stand in any order; raises IndexError outside of [0, N).
        """
        if out is None:
            out = np.empty((len(rows), *self.shape), np.uint8)
        elif out.dtype != _UINT8 or len(out) != len(rows) or out.shape[1:] != self.shape:
            raise ValueError(f"out is {out.dtype} {out.shape}, not uint8 {len(rows), *self.shape}")
        self._take(rows, out)
        return out

    @property
    def all_open(self) -> bool:
        """Whether nothing is gained by wanting any."""
        return self._open.complete

    def want(self, rows: npt.NDArray[np.int64], ahead: Sequence[int] = ()) -> None:
        """Tells what will be gathered soon: these rows, then rows of the shards `ahead`.

        Threads open their shards and read them from beginning to end, as far as there is room.
        """
        shards, firsts = np.unique(self._shards_of(rows), return_index=True)
        self._open.want([*shards[np.argsort(firsts)].tolist(), *ahead])

    def stop(self) -> None:
        """Nothing will be gathered soon."""
        self._open.stop()

    def check_room_for(self, rows: npt.NDArray[np.int64]) -> None:
        """Raises UserError when these rows lie in more shards than can be held at a time."""
        self._open.check_room_for(len(np.unique(self._shards_of(rows))))

    def shards_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The shard of each row; raises IndexError outside of [0, N)."""
        return self._shards_of(np.asarray(rows, np.int64))

    def _take(
        self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.generic], labels: bool = False
    ) -> None:
        rows = np.asarray(rows, np.int64)
        shards = self._shards_of(rows)
        opened = self._open
        if opened.complete:
            # Bounds are checked; with mode="raise" it would fill a buffer first.
            table = opened.labels if labels else opened.images
            table.take(rows + opened.deltas[shards], 0, out, "clip")
            return
        needed = np.unique(shards)
        for first in range(0, len(needed), opened.capacity):
            part = needed[first : first + opened.capacity]
            with opened.use(part.tolist()):
                table = opened.labels if labels else opened.images
                if len(part) == len(needed):
                    table.take(rows + opened.deltas[shards], 0, out, "clip")
                else:
                    places = np.flatnonzero(np.isin(shards, part))
                    out[places] = table[rows[places] + opened.deltas[shards[places]]]

    def _shards_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        if len(rows) == 0:
            return np.empty(0, np.int64)
        extreme = rows.item(rows.view(np.uint64).argmax())  # a negative row is the largest of all
        if not 0 <= extreme < self._num_rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in [0, {len(self)})")
        if self._equal_rows is not None:  # as the shard stage makes them; a division is quicker
            return rows // self._equal_rows
        return self._starts.searchsorted(rows, side="right") - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """An open folder of shards."""

    manifest: Manifest
    """What the folder holds."""
    train: Rows
    """The split for training."""
    heldout: Rows
    """The split that no training sees; empty where `heldout_fraction` was 0."""


def open_dataset(folder: str | Path, verify: Literal["size", "hash"] = "hash") -> Dataset:
    """Opens a folder; `verify` compares the files' sizes alone or their SHA-256 as well.

    A file that was hashed once is hashed again when it changed, as `CheckedFiles` tells. Raises
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
    """The data set that a manifest describes, its splits' files from wherever they come."""
    shape = (manifest.resolution, manifest.resolution, manifest.channels)
    train, heldout = (
        Rows(files[name], manifest.splits[name], shape, len(manifest.class_names))
        for name in ("train", "heldout")
    )
    return Dataset(manifest=manifest, train=train, heldout=heldout)


class _LocalFiles:
    """Shards that lie in a folder."""

    capacity: int | None = None
    room = "a process can map no more"
    num_threads = 1

    def __init__(self, folder: Path, split: Split) -> None:
        self._folder = folder
        self._entries = split.shards

    def fetch(self, index: int) -> Path:
        return self._folder / self._entries[index].file

    def release(self, index: int) -> None:
        pass
