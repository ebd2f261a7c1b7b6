"""Copies of shards from S3 in a local folder of limited size, shared by a machine's processes.

A copy is `<sha256>.arrow`. While somebody uses it he holds a shared lock on it, so that nobody
evicts it; who looks for it or fetches it holds `<sha256>.lock`, whose time stamp says when it was
used last. `<sha256>.room` is as long as the copy that is on its way. The kernel frees the locks of
a process that dies, and what it left half done is then swept away.
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
    """A sound copy that stays until `close`."""

    path: Path
    descriptor: int

    def close(self) -> None:
        """Lets it be evicted."""
        os.close(self.descriptor)


class ShardCache:
    """The folder, at most `max_bytes` of it; on a local disk. Threads may share it."""

    def __init__(self, folder: Path, max_bytes: int, wait_s: float = 60.0) -> None:
        """`wait_s` is how long to wait for room while all that is there is in use."""
        self.folder = folder
        self.max_bytes = max_bytes
        self._wait_s = wait_s
        self._sound: dict[str, tuple[int, int, int]] = {}  # what this process hashed, by its state
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be made ({error.strerror}); choose another runtime.cache_dir"
            ) from None

    def hold(self, entry: ShardEntry, remote: S3Folder) -> HeldCopy:
        """The shard `entry` of the folder `remote`, fetched where no sound copy is there.

        A copy is hashed when it is fetched and when this process first meets it. Raises UserError
        for what S3Folder.download raises, for no such object, and when there is no room.
        """
        path = self.folder / f"{entry.sha256}.arrow"
        lock = path.with_suffix(".lock")
        while True:
            with locked(lock, WAIT):
                descriptor = _open_in_use(path)
                if descriptor is None:
                    self._fetch(entry, remote, path)
                    descriptor = _open_in_use(path)
                    if descriptor is None:  # evicted at once, by one with little room
                        continue
                    self._sound[entry.sha256] = _state(descriptor)
                os.utime(lock)
            try:
                if self._is_sound(entry, descriptor):
                    return HeldCopy(path, descriptor)
                with locked(lock, WAIT):
                    _unlink_if_same(path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_sound(self, entry: ShardEntry, descriptor: int) -> bool:
        state = _state(descriptor)
        if os.fstat(descriptor).st_size != entry.bytes:
            return False
        if self._sound.get(entry.sha256) != state:
            if sha256_file(f"/dev/fd/{descriptor}") != entry.sha256:
                return False
            self._sound[entry.sha256] = state
        return True

    def _fetch(self, entry: ShardEntry, remote: S3Folder, path: Path) -> None:
        room = path.with_suffix(".room")
        self._reserve(room, entry.bytes)
        try:
            remote.download(entry.file, path, entry.sha256, parallel=False)
        except FileNotFoundError:
            raise UserError(
                f"{remote.address}/{entry.file} is missing; upload the data set there again"
            ) from None
        finally:
            room.unlink(missing_ok=True)

    def _reserve(self, room: Path, num_bytes: int) -> None:
        deadline = time.monotonic() + self._wait_s
        while True:
            with locked(self.folder / "cache.lock", WAIT):
                if self._make_room(room.stem, num_bytes):
                    with room.open("wb") as file:
                        file.truncate(num_bytes)
                    return
            if time.monotonic() > deadline:
                raise UserError(
                    f"the cache {self.folder} of {self.max_bytes / 1e9:.2f} GB is full of shards "
                    "in use; raise runtime.cache_gb or use another runtime.cache_dir"
                )
            time.sleep(_POLL_S)

    def _make_room(self, name: str, num_bytes: int) -> bool:
        sizes: dict[str, int] = {}
        for entry in os.scandir(self.folder):
            stem, _, kind = entry.name.partition(".")
            if stem == name or kind not in ("arrow", "room", "arrow.tmp"):
                continue
            if kind != "arrow" and self._sweep(stem):
                continue
            with suppress(FileNotFoundError):  # done or gone meanwhile
                sizes[stem] = max(sizes.get(stem, 0), entry.stat().st_size)
        surplus = sum(sizes.values()) + num_bytes - self.max_bytes
        for stem in sorted(sizes, key=self._last_use):
            if surplus <= 0:
                break
            if _evict(self.folder / f"{stem}.arrow"):
                surplus -= sizes[stem]
        return surplus <= 0

    def _sweep(self, stem: str) -> bool:
        """Removes what a dead process left of a download; False: it is still on its way."""
        try:
            with locked(self.folder / f"{stem}.lock"):
                for kind in ("room", "arrow.tmp"):
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
    """A descriptor with a shared lock; None where there is no such file."""
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
