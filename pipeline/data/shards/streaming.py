"""Data sets in S3: shards are downloaded through a cache when, or shortly before, they are read."""

import tempfile
import threading
import weakref
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import MANIFEST_FILE, Manifest, Split, read_manifest
from pipeline.data.shards.open_shards import ShardFiles
from pipeline.data.shards.reader import Dataset, dataset_of, open_dataset
from pipeline.data.shards.shard_cache import HeldCopy, ShardCache
from pipeline.storage.s3 import S3Folder

_NUM_DOWNLOADS = 4


def open_anywhere(place: str, cache_dir: Path, cache_gb: float) -> Dataset:
    """The shards of a local folder, or of `s3://bucket/prefix` through a cache of so many GB."""
    if place.startswith("s3://"):
        return open_streamed(S3Folder(place), ShardCache(cache_dir, int(cache_gb * 1e9)))
    return open_dataset(place)


def open_streamed(remote: S3Folder, cache: ShardCache) -> Dataset:
    """Downloads the manifest alone; shards follow when rows are gathered or wanted.

    Raises UserError for no data set there, a damaged one, and a cache smaller than two shards.
    """
    manifest = fetch_manifest(remote)
    files: dict[str, ShardFiles] = {
        name: _CachedFiles(remote, cache, split) for name, split in manifest.splits.items()
    }
    return dataset_of(manifest, files)


def fetch_manifest(remote: S3Folder) -> Manifest:
    """The manifest of the data set at `remote`; raises UserError for none and a damaged one."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            remote.download(MANIFEST_FILE, Path(folder) / MANIFEST_FILE)
        except FileNotFoundError:
            raise UserError(
                f"{remote.address} holds no data set: it has no {MANIFEST_FILE}; upload one with "
                f"`python -m stages.shard --out data/shards --to {remote.address}`"
            ) from None
        try:
            return read_manifest(Path(folder))
        except UserError as error:
            raise UserError(str(error).replace(folder, str(remote.address))) from None


class _CachedFiles:
    """The shards of one split, through the cache."""

    capacity: int | None
    num_threads = _NUM_DOWNLOADS

    def __init__(self, remote: S3Folder, cache: ShardCache, split: Split) -> None:
        self._remote = remote
        self._cache = cache
        self._entries = split.shards
        largest = max((entry.bytes for entry in split.shards), default=1)
        num_held = cache.max_bytes // largest
        self.capacity = num_held
        self.capacity_text = (
            f"the cache {cache.folder} of {cache.max_bytes / 1e9:.2f} GB holds {num_held} of "
            f"{largest / 1e9:.3f} GB; raise runtime.cache_gb"
        )
        if split.shards and num_held < 2:  # one of each split, if both are read
            raise UserError(
                f"{remote.address} needs space for two shards, but {self.capacity_text}"
            )
        self._lock = threading.Lock()
        self._held: dict[int, list[HeldCopy]] = {}
        weakref.finalize(self, _close_all, self._held)

    def fetch(self, index: int) -> Path:
        copy = self._cache.hold(self._entries[index], self._remote)
        with self._lock:
            self._held.setdefault(index, []).append(copy)
        return copy.path

    def release(self, index: int) -> None:
        with self._lock:
            self._held[index].pop().close()


def _close_all(held: dict[int, list[HeldCopy]]) -> None:
    for copies in held.values():
        for copy in copies:
            copy.close()
