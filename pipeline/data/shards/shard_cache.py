"""Cache of shards from S3 in a local folder of limited size, shared by a machine's processes.

A copy is `<sha256>.arrow`. Readers hold a shared lock on it; eviction needs an exclusive one. The
lookup and the download of a copy hold `<sha256>.lock`, whose time stamp is that of the last use.
`<sha256>.reserved` has the size of a copy that is being downloaded. The kernel releases the locks
of a process that dies; the files of its interrupted downloads are then deleted.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import ShardEntry
from pipeline.storage.digest import sha256_file
from pipeline.storage.locks import WAIT, LockedError, lock_open_file, locked
from pipeline.storage.s3 import S3Folder

_POLL_S = 0.05


@dataclass(frozen=True)
class HeldCopy:
    """An intact copy that is not evicted before `close`."""

    path: Path
    descriptor: int

    def close(self) -> None:
        """Releases the shared lock."""
        os.close(self.descriptor)


class ShardCache:
    """A folder of at most `max_bytes` on a local disk. Threads may share it."""

    def __init__(self, folder: Path, max_bytes: int, wait_s: float = 60.0) -> None:
        """`wait_s` is how long to wait for space while all copies are in use."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._wait_s = wait_s
        self._hashed: dict[str, tuple[int, int, int]] = {}  # state of the file when it was intact
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}); choose another runtime.cache_dir"
            ) from None

    def hold(self, entry: ShardEntry, remote: S3Folder) -> HeldCopy:
        """The shard `entry` of the folder `remote`, downloaded where there is no intact copy.

        A copy is hashed when it is downloaded and when this process first opens it. Raises
        UserError for what S3Folder.download raises, for no such object, and for a full cache.
        """
        path = self.folder / f"{entry.sha256}.arrow"
        lock = path.with_suffix(".lock")
        while True:
            with locked(lock, WAIT):
                descriptor = _open_in_use(path)
                if descriptor is None:
                    self._fetch(entry, remote, path)
                    descriptor = _open_in_use(path)
                    if descriptor is None:  # evicted at once by another process
                        continue
                    self._hashed[entry.sha256] = _state(descriptor)
                os.utime(lock)
            try:
                if self._is_intact(entry, descriptor):
                    return HeldCopy(path, descriptor)
                with locked(lock, WAIT):
                    _unlink_if_same(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_intact(self, entry: ShardEntry, descriptor: int) -> bool:
        state = _state(descriptor)
        if os.fstat(descriptor).st_size != entry.bytes:
            return False
        if self._hashed.get(entry.sha256) != state:
            if sha256_file(f"/dev/fd/{descriptor}") != entry.sha256:
                return False
            self._hashed[entry.sha256] = state
        return True

    def _fetch(self, entry: ShardEntry, remote: S3Folder, path: Path) -> None:
        reservation = path.with_suffix(".reserved")
        self._reserve(reservation, entry.bytes)
        try:
            remote.download(entry.file, path, entry.sha256, parallel=False)
        except FileNotFoundError:
            raise UserError(
                f"{remote.address}/{entry.file} is missing; upload the data set there again"
            ) from None
        finally:
            reservation.unlink(missing_ok=True)

    def _reserve(self, reservation: Path, num_bytes: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            with locked(self.folder / "cache.lock", WAIT):
                if self._evict_for(reservation.stem, num_bytes):
                    with reservation.open("wb") as file:
                        file.truncate(num_bytes)
                    return
            if time.monotonic() > deadline:
                raise UserError(
                    f"the cache {self.folder} of {self.max_bytes / 1e9:.2f} GB is full of shards "
                    "in use; raise runtime.cache_gb or use another runtime.cache_dir"
                )
            time.sleep(_POLL_S)

    def _evict_for(self, name: str, num_bytes: int) -> bool:
        """Evicts the copies used longest ago; False: those in use leave too little space."""
        sizes: dict[str, int] = {}
        for entry in os.scandir(self.folder):
            stem, _, kind = entry.name.partition(".")
            if stem == name or kind not in ("arrow", "reserved", "arrow.tmp"):
                continue
            if kind != "arrow" and self._remove_leftovers(stem):
                continue
            with suppress(FileNotFoundError):  # complete or evicted meanwhile
                sizes[stem] = max(sizes.get(stem, 0), entry.stat().st_size)
        surplus = sum(sizes.values()) + num_bytes - self.max_bytes
        for stem in sorted(sizes, key=self._last_use):
            if surplus <= 0:
                break
            if _evict(self.folder / f"{stem}.arrow"):
                surplus -= sizes[stem]
        return surplus <= 0

    def _remove_leftovers(self, stem: str) -> bool:
        """Deletes the files of an interrupted download; False: it is in progress."""
        try:
            with locked(self.folder / f"{stem}.lock"):
                for kind in ("reserved", "arrow.tmp"):
                    (self.folder / f"{stem}.{kind}").unlink(missing_ok=True)
        except LockedError:
            return False
        return True

    def _last_use(self, stem: str) -> int:
        try:
            return (self.folder / f"{stem}.lock").stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def _open_in_use(path: Path) -> int | None:
    """A descriptor that holds a shared lock; None where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    lock_open_file(descriptor, shared=True, wait=True)
    if os.fstat(descriptor).st_nlink == 0:  # evicted in between
        os.close(descriptor)
        return None
    return descriptor


def _evict(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        evictable = lock_open_file(descriptor)
        if evictable:
            _unlink_if_same(path, descriptor)
        return evictable
    finally:
        os.close(descriptor)


def _unlink_if_same(path: Path, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        if path.stat().st_ino == os.fstat(descriptor).st_ino:
            path.unlink()


def _state(descriptor: int) -> tuple[int, int, int]:
    found = os.fstat(descriptor)
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
