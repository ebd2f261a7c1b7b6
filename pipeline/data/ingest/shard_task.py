"""Makes one shard file of a fixed range of items, in any process.

The range is fixed before anything is decoded: an item that is rejected makes its shard shorter and
leaves the others unchanged.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.ingest.preprocessing import (
    VERSIONS,
    Preprocessing,
    UndecodableError,
    decode,
    pillow_warnings,
)
from pipeline.data.shards.manifest import ShardEntry
from pipeline.data.shards.shard_file import write_shard
from pipeline.data.sources.source import Items, Reader, Unreadable
from pipeline.storage.atomic import atomic_write, write_json
from pipeline.storage.digest import digest_json, sha256_file

_CELLS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """Inputs of one shard; can be pickled."""

    split: str
    """`train` or `heldout`."""
    path: Path
    """The shard's file."""
    done_marker: Path
    """JSON file with the result, written when the shard is complete."""
    items: Items
    read: Reader
    origin: Mapping[str, Any]
    """That of the source."""
    preprocessing: Preprocessing
    num_classes: int

    def digest(self) -> str:
        """Digest of all that decides the shard's content, except the images' own bytes."""
        return digest_json(
            {
                "keys": list(self.items.keys),
                "labels": self.items.labels.tolist(),
                "where": self.items.where.tolist(),
                "origin": dict(self.origin),
                "preprocessing": asdict(self.preprocessing),
                "versions": VERSIONS,
                "num_classes": self.num_classes,
            }
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardStats:
    """Statistics of the N images of a shard, which add up over shards."""

    hashes: npt.NDArray[np.uint64]
    """[N], the first 8 bytes of the SHA-256 of each image's pixels."""
    num_enlarged: int
    """Originals with a side shorter than the shard's."""
    num_flat: int
    """Images of one colour."""
    cell_sums: npt.NDArray[np.float64]
    """[cells], sum of the images' means in each cell of an 8x8 grid, in grey levels."""
    cell_squares: npt.NDArray[np.float64]
    """[cells], sum of their squares."""

    def to_json(self) -> dict[str, Any]:
        """As values of JSON."""
        return {
            "hashes": self.hashes.astype("<u8").tobytes().hex(),
            "num_enlarged": self.num_enlarged,
            "num_flat": self.num_flat,
            "cell_sums": self.cell_sums.tolist(),
            "cell_squares": self.cell_squares.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "ShardStats":
        """The inverse of `to_json`."""
        return cls(
            hashes=np.frombuffer(bytes.fromhex(content["hashes"]), "<u8").astype(np.uint64),
            num_enlarged=content["num_enlarged"],
            num_flat=content["num_flat"],
            cell_sums=np.array(content["cell_sums"], np.float64),
            cell_squares=np.array(content["cell_squares"], np.float64),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """Outcome of a task."""

    file: str
    entry: ShardEntry | None
    """None when every item was rejected; then there is no file."""
    class_counts: list[int]
    rejected: list[tuple[int, str]]
    """Positions in the task's items, in order, and reasons."""
    stats: ShardStats


def make_shard(task: ShardTask) -> ShardResult:
    """Makes the shard, unless an earlier attempt has completed it."""
    digest = task.digest()
    result = _completed(task, digest)
    if result is None:
        result = _make(task)
        write_json(task.done_marker, {"task": digest, **_to_json(result)})
    return result


def _make(task: ShardTask) -> ShardResult:
    R, C = task.preprocessing.resolution, task.preprocessing.channels
    images = np.empty((len(task.items), R, R, C), np.uint8)
    accepted: list[int] = []
    rejected: list[tuple[int, str]] = []
    num_enlarged = 0
    with pillow_warnings():
        for position, raw in enumerate(task.read(task.items)):
            try:
                if isinstance(raw, Unreadable):
                    raise UndecodableError(raw.reason)
                if task.items.labels[position] < 0:
                    raise UndecodableError("its class is not known")
                square, side = decode(raw, task.preprocessing, task.items.keys[position])
            except UndecodableError as error:
                rejected.append((position, str(error)))
                continue
            images[len(accepted)] = square
            accepted.append(position)
            num_enlarged += side < R
    images = images[: len(accepted)]
    kept = task.items.take(np.array(accepted, np.int64))
    return ShardResult(
        file=task.path.name,
        entry=_write(task.path, images, kept) if accepted else None,
        class_counts=np.bincount(kept.labels, minlength=task.num_classes).tolist(),
        rejected=rejected,
        stats=shard_stats(images, num_enlarged),
    )


def _write(path: Path, images: npt.NDArray[np.uint8], items: Items) -> ShardEntry:
    with atomic_write(path) as tmp:
        write_shard(tmp, images, items.labels, items.keys)
        size, sha256 = tmp.stat().st_size, sha256_file(tmp)
    return ShardEntry(file=path.name, rows=len(items), bytes=size, sha256=sha256)


def _completed(task: ShardTask, digest: str) -> ShardResult | None:
    try:
        content = json.loads(task.done_marker.read_bytes())
        if content["task"] != digest:
            return None
        entry = None if content["entry"] is None else ShardEntry(**content["entry"])
        if entry is not None and sha256_file(task.path) != entry.sha256:
            return None
        return ShardResult(
            file=task.path.name,
            entry=entry,
            class_counts=content["class_counts"],
            rejected=[(position, reason) for position, reason in content["rejected"]],
            stats=ShardStats.from_json(content["stats"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None  # incomplete or damaged: made anew


def _to_json(result: ShardResult) -> dict[str, Any]:
    return {
        "entry": None if result.entry is None else asdict(result.entry),
        "class_counts": result.class_counts,
        "rejected": result.rejected,
        "stats": result.stats.to_json(),
    }


def shard_stats(images: npt.NDArray[np.uint8], num_enlarged: int) -> ShardStats:
    """Statistics of uint8 [N, R, R, C]."""
    N, R, C = *images.shape[:2], images.shape[3]
    cells = min(_CELLS, R)
    side = R // cells
    sums = np.zeros(cells * cells)
    squares = np.zeros(cells * cells)
    hashes = np.empty(N, np.uint64)
    num_flat = 0
    for index, image in enumerate(images):
        hashes[index] = int.from_bytes(hashlib.sha256(image).digest()[:8], "little")
        inner = image[: side * cells, : side * cells].reshape(cells, side, cells * side * C)
        columns = inner.sum(axis=1, dtype=np.uint32).reshape(cells, cells, side * C)
        grey = columns.sum(axis=2).ravel() / (side * side * C)
        # Cheaper first: an image of one colour has equal cells.
        num_flat += bool(np.ptp(grey) == 0 and (image == image[0, 0]).all())
        sums += grey
        squares += grey**2
    return ShardStats(
        hashes=hashes,
        num_enlarged=num_enlarged,
        num_flat=num_flat,
        cell_sums=sums,
        cell_squares=squares,
    )
