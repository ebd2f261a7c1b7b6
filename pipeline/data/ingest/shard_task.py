"""One shard's share of the work: a fixed range of items becomes one file, in any process.

The range is fixed before anything is decoded: an item that is rejected makes its shard shorter and
leaves all others as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.ingest.observation import Seen, observe
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTask:
    """What one shard is made of; it can be sent to another process."""

    split: str
    """`train` or `heldout`."""
    path: Path
    """The shard's file to be."""
    receipt: Path
    """File that says, once the shard is whole, what was made of what."""
    items: Items
    read: Reader
    origin: Mapping[str, Any]
    """The source's."""
    preprocessing: Preprocessing
    num_classes: int

    def digest(self) -> str:
        """Of all that decides the shard's content, as far as is known without reading it."""
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
class ShardResult:
    """What became of a task."""

    file: str
    entry: ShardEntry | None
    """None when every item was rejected: then there is no file."""
    class_counts: list[int]
    rejected: list[tuple[int, str]]
    """Positions in the task's items, in order, and reasons."""
    seen: Seen


def make_shard(task: ShardTask) -> ShardResult:
    """Makes the shard, or takes it as it is when an earlier attempt has completed it."""
    digest = task.digest()
    result = _completed(task, digest)
    if result is None:
        result = _make(task)
        write_json(task.receipt, {"task": digest, **_plain(result)})
    return result


def _make(task: ShardTask) -> ShardResult:
    R, C = task.preprocessing.resolution, task.preprocessing.channels
    # Memory that no row has touched yet costs nothing.
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
        seen=observe(images, num_enlarged),
    )


def _write(path: Path, images: npt.NDArray[np.uint8], items: Items) -> ShardEntry:
    with atomic_write(path) as tmp:
        write_shard(tmp, images, items.labels, items.keys)
        size, sha256 = tmp.stat().st_size, sha256_file(tmp)
    return ShardEntry(file=path.name, rows=len(items), bytes=size, sha256=sha256)


def _completed(task: ShardTask, digest: str) -> ShardResult | None:
    try:
        content = json.loads(task.receipt.read_bytes())
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
            seen=Seen.from_plain(content["seen"]),
        )
    except (OSError, ValueError, LookupError, TypeError):
        return None  # whatever is not whole is made anew


def _plain(result: ShardResult) -> dict[str, Any]:
    return {
        "entry": None if result.entry is None else asdict(result.entry),
        "class_counts": result.class_counts,
        "rejected": result.rejected,
        "seen": result.seen.plain(),
    }
