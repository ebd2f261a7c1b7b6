"""File locks between processes; the kernel releases them when their process ends."""

import fcntl
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

WAIT = math.inf
"""Patience without end."""
_POLL_S = 0.25


class LockedError(Exception):
    """Another process holds the lock; the message is its number, or `unknown`."""


@contextmanager
def locked(path: Path, patience_s: float = 0.0) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`, which is made and names the holding process.

    Raises LockedError when another process holds it for longer than `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    with open(path, "a+") as lock:
        while not (ours := lock_open_file(lock.fileno(), wait=patience_s == WAIT)):
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_S)
        if not ours:
            lock.seek(0)
            raise LockedError(lock.read().strip() or "unknown")
        with suppress(OSError):  # the lock holds on a full disk too, without the number
            os.ftruncate(lock.fileno(), 0)
            os.write(lock.fileno(), str(os.getpid()).encode())
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds an exclusive lock on the file."""
    with open(path) as lock:
        return not lock_open_file(lock.fileno(), shared=True)


def lock_open_file(descriptor: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Locks an open file or folder until it is closed; False: another process holds it.

    Any number of processes can hold a `shared` lock together, but not beside an exclusive one.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
