"""A lock that ends with its process, however that dies; the file says which process holds it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_POLL_S = 0.25


class LockedError(Exception):
    """Another process holds the lock; the message is its number, or `unknown`."""


@contextmanager
def locked(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Holds the lock `path`; raises LockedError when another does for longer than `patience_s`."""
    deadline = time.monotonic() + patience_s
    with open(path, "a+") as lock:
        while not (ours := _try_lock(lock, fcntl.LOCK_EX)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if not ours:
            lock.seek(0)
            raise LockedError(lock.read().strip() or "unknown")
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock."""
    with open(path) as lock:
        return not _try_lock(lock, fcntl.LOCK_SH)


def _try_lock(lock: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
