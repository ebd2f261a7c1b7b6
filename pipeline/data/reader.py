"""Opens a folder of shards and gathers batches from the mapped files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.data.manifest import Manifest, Split, read_manifest
from pipeline.data.shard_file import Shard, open_shard
from pipeline.errors import UserError
from pipeline.storage.digest import sha256_file

_MEND = "write the shards anew with `dvc repro --force shard`"


class Rows:
    """The rows of one split, across its shards."""

    def __init__(self, shards: Sequence[Shard], shape: tuple[int, int, int]) -> None:
        self.shape = shape
        """[H, W, C] of an image."""
        self.labels: npt.NDArray[np.int32] = np.concatenate(
            [np.empty(0, np.int32), *(shard.labels for shard in shards)]
        )
        """[N], read-only."""
        self.labels.flags.writeable = False
        self.shard_rows = tuple(len(shard.labels) for shard in shards)
        """Rows of each shard, in the order of the rows."""
        self._images = [shard.images for shard in shards]
        self._keys = [shard.keys for shard in shards]
        self._starts = np.cumsum([0, *(len(images) for images in self._images)])

    def __len__(self) -> int:
        return len(self.labels)

    def keys(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Where the images of these rows came from; raises IndexError outside of [0, N)."""
        shards, offsets = self._locate(rows)
        pairs = zip(shards.tolist(), offsets.tolist(), strict=True)
        return [self._keys[shard][offset].as_py() for shard, offset in pairs]

    def gather(
        self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint8] | None = None
    ) -> npt.NDArray[np.uint8]:
        """Copies images of rows int64 [B] to `out`, uint8 [B, H, W, C], made where it is None.

        Rows may repeat and stand in any order; raises IndexError outside of [0, N).
        """
        if out is None:
            out = np.empty((len(rows), *self.shape), np.uint8)
        elif out.shape != (len(rows), *self.shape) or out.dtype != np.uint8:
            raise ValueError(f"out is {out.dtype} {out.shape}, not uint8 {len(rows), *self.shape}")
        shards, offsets = self._locate(rows)
        if len(self._images) == 1:
            # Bounds are checked; with mode="raise" np.take would fill a buffer first.
            np.take(self._images[0], offsets, axis=0, out=out, mode="clip")
            return out
        pairs = zip(shards.tolist(), offsets.tolist(), strict=True)
        for index, (shard, offset) in enumerate(pairs):
            out[index] = self._images[shard][offset]
        return out

    def _locate(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all in [0, {len(self)})")
        if len(self._images) == 1:
            return np.zeros_like(rows), rows
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        return shards, rows - self._starts[shards]


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
    """Maps all shards; `verify` compares the files' sizes alone or their SHA-256 as well.

    Raises UserError naming the file that is missing or damaged and the command that mends it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of shards; make it with `dvc repro shard`")
    manifest = read_manifest(folder)
    shape = (manifest.resolution, manifest.resolution, manifest.channels)
    splits = {
        name: Rows(_open_split(folder, split, shape, verify), shape)
        for name, split in manifest.splits.items()
    }
    return Dataset(manifest=manifest, train=splits["train"], heldout=splits["heldout"])


def _open_split(
    folder: Path, split: Split, shape: tuple[int, int, int], verify: Literal["size", "hash"]
) -> list[Shard]:
    shards = []
    for entry in split.shards:
        path = folder / entry.file
        try:
            size = path.stat().st_size
            if size != entry.bytes:
                raise UserError(f"{path} has {size} bytes, not {entry.bytes}; {_MEND}")
            if verify == "hash" and sha256_file(path) != entry.sha256:
                raise UserError(f"{path} is damaged: its SHA-256 is not the manifest's; {_MEND}")
        except FileNotFoundError:
            raise UserError(f"{path} is missing; make it with `dvc repro shard`") from None
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}); {_MEND}") from None
        shards.append(open_shard(path, entry.rows, shape))
    counts = np.zeros(len(split.class_counts), np.int64)
    for entry, shard in zip(split.shards, shards, strict=True):
        if shard.labels.min() < 0 or shard.labels.max() >= len(counts):
            raise UserError(f"{folder / entry.file} is damaged: it has unknown labels; {_MEND}")
        counts += np.bincount(shard.labels, minlength=len(counts))
    if counts.tolist() != list(split.class_counts):
        names = ", ".join(entry.file for entry in split.shards)
        raise UserError(f"{folder}: the labels of {names} are not the manifest's; {_MEND}")
    return shards
