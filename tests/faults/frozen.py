"""Holds processes still, so that a test knows where they stand when it kills them."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.0005


def freeze(pids: Iterable[int]) -> None:
    """Returns when no thread of the processes runs any more; SIGKILL and SIGCONT still reach them.

    What a frozen process has done to a disk or sent to a server is what it had done if killed.
    """
    pids = list(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    while any(_is_running(pid) for pid in pids):
        time.sleep(_POLL_S)


def thaw(pids: Iterable[int]) -> None:
    """Lets them go on."""
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen(pids: Iterable[int]) -> Iterator[None]:
    """Holds the processes still inside; those that are not killed go on after it."""
    pids = list(pids)
    freeze(pids)
    try:
        yield
    finally:
        thaw(pid for pid in pids if Path(f"/proc/{pid}").exists())


def poll(condition: Callable[[], object], timeout_s: float, complaint: Callable[[], str]) -> None:
    """Asks `condition` often, for what lasts milliseconds; fails with `complaint`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint()
        time.sleep(_POLL_S)


def _is_running(pid: int) -> bool:
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            state = stat.read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # the thread has ended
            continue
        if state not in "TtZX":
            return True
    return False
