"""Notices that training should stop early: a signal, or the death of what started it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil

_LOOK_INTERVAL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

GONE = "the process that started this stage is gone"
LAUNCHER_VARIABLE = "SAGAN_LAB_LAUNCHER"
"""Environment variable with the process number of a launcher on this machine."""


class Interruption:
    """A context in which SIGTERM and SIGINT only leave a note that the loop reads between steps.

    When DVC or a launcher is killed this process lives on as an orphan, which would train beside
    the next run of the same command. So the ancestors up to the farther of them are watched.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, signal._HANDLER] = {}
        self._launcher = int(os.environ.get(LAUNCHER_VARIABLE, 0))
        self._ancestors = _watched_ancestors(self._launcher)
        watched = any(process.pid == self._launcher for process in self._ancestors)
        self._orphaned = self._launcher != 0 and not watched
        self._next_look_s = 0.0

    def __enter__(self) -> "Interruption":
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._orphaned:
            return GONE
        # Asked before every step: looking at processes reads files, so not every time.
        if self._ancestors and time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_INTERVAL_S
            if not all(_is_alive(process) for process in self._ancestors):
                return GONE
        return None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number


@contextmanager
def stop_reason(given: Callable[[], str | None] | None) -> Iterator[Callable[[], str | None]]:
    """What says why to stop early: `given`, or an Interruption for as long."""
    if given is not None:
        yield given  # of a thread, perhaps, which hears no signal
    else:
        with Interruption() as interruption:
            yield interruption.reason


def _is_alive(process: psutil.Process) -> bool:
    try:  # a killed process whose parent has not noticed yet still has its entry
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _watched_ancestors(launcher: int) -> list[psutil.Process]:
    ancestors = psutil.Process().parents() if launcher or "DVC_STAGE" in os.environ else []
    last = 0
    for i, process in enumerate(ancestors):
        is_dvc = "DVC_STAGE" in os.environ and any(
            part.endswith("dvc") for part in process.cmdline()[:3]
        )
        if is_dvc or process.pid == launcher:
            last = i + 1
        if is_dvc:
            break
    return ancestors[:last]
