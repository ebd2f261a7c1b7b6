"""Verification of shard files against the manifest: at every start, or of every byte on request."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import Manifest, ShardEntry, Split, read_manifest
from pipeline.data.shards.shard_file import damaged, open_shard
from pipeline.storage.atomic import write_json
from pipeline.storage.digest import sha256_file
from pipeline.storage.locks import lock_open_file

# A file that changed just now may change again under the same time stamp.
_SETTLED_NS = 2 * 10**9
_MAX_THREADS = 8


class CheckedFiles:
    """The files of one folder of shards, each hashed once a change.

    The inode, size and times of change of hashed files are recorded beside the folder, in
    `<folder>.checked.json`, which all processes of a machine share.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._record = folder.with_name(folder.name + ".checked.json")

    def check(self, entries: Sequence[ShardEntry], hashes: bool) -> None:
        """Compares all sizes, and with `hashes` each SHA-256 that is not recorded as checked.

        Raises UserError naming the first file that is missing or damaged, and the cure.
        """
        states = {e.file: _check_size(self._folder / e.file, e) for e in entries}
        if not hashes or self._unchecked(entries, states) == []:
            return
        with self._lock():  # eight processes of a node hash once, not eight times
            unchecked = self._unchecked(entries, states)
            with ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as threads:
                for _ in threads.map(lambda e: _check_hash(self._folder / e.file, e), unchecked):
                    pass
            self._write_record(entries, states)

    def _unchecked(
        self, entries: Sequence[ShardEntry], states: dict[str, list[int]]
    ) -> list[ShardEntry]:
        known = self._read_record()
        return [e for e in entries if known.get(e.file) != [e.sha256, *states[e.file]]]

    def _read_record(self) -> dict[str, list[Any]]:
        try:
            content = json.loads(self._record.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return content if isinstance(content, dict) else {}

    def _write_record(self, entries: Sequence[ShardEntry], states: dict[str, list[int]]) -> None:
        settled = time.time_ns() - _SETTLED_NS
        known = {
            entry.file: [entry.sha256, *states[entry.file]]
            for entry in entries
            if max(states[entry.file][1:]) < settled
        }
        with suppress(OSError):  # a read-only folder: everything is hashed again next time
            write_json(self._record, self._read_record() | known)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # not every network file system locks
                lock_open_file(descriptor, wait=True)
            yield
        finally:
            os.close(descriptor)


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
        _check_size(path, entry)
        _check_hash(path, entry)
        shard = open_shard(path, entry.rows, shape)
        if shard.labels.min() < 0 or shard.labels.max() >= num_classes:
            raise damaged(path, "it has unknown labels")
        if "" in shard.keys.unique().to_pylist():
            raise damaged(path, "an image has no key")
        counts += np.bincount(shard.labels, minlength=num_classes)
    if counts.tolist() != list(split.class_counts):
        names = ", ".join(entry.file for entry in split.shards)
        raise damaged(folder, f"the labels of {names} are not the manifest's")


def _check_size(path: Path, entry: ShardEntry) -> list[int]:
    """The file's inode and times of change; raises UserError unless it has the right size."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise UserError(f"{path} is missing; make it with `dvc repro shard`") from None
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from None
    if found.st_size != entry.bytes:
        raise damaged(path, f"it has {found.st_size} bytes, not {entry.bytes}")
    return [found.st_ino, found.st_mtime_ns, found.st_ctime_ns]


def _check_hash(path: Path, entry: ShardEntry) -> None:
    try:
        intact = sha256_file(path) == entry.sha256
    except OSError as error:
        raise damaged(path, f"it cannot be read ({error.strerror})") from None
    if not intact:
        raise damaged(path, "its SHA-256 is not the manifest's")
