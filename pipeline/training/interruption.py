"""Notices that training should stop early: a signal, or the death of the `dvc` that started it."""

import os
import signal
import time
from types import FrameType

import psutil

_LOOK_INTERVAL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interruption:
    """A context in which SIGTERM and SIGINT only leave a note that the loop reads between steps.

    When DVC is killed its shell command lives on as an orphan, which would train beside the next
    `dvc repro`. So, under DVC, the ancestors of this process are watched up to DVC itself.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, signal._HANDLER] = {}
        self._ancestors = _ancestors_to_dvc() if "DVC_STAGE" in os.environ else []
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
        # Asked before every step: looking at processes reads files, so not every time.
        if self._ancestors and time.monotonic() >= self._next_look_s:
            self._next_look_s = time.monotonic() + _LOOK_INTERVAL_S
            if not all(_is_alive(process) for process in self._ancestors):
                return "the process that started this stage is gone"
        return None

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = number


def _is_alive(process: psutil.Process) -> bool:
    try:  # a killed process whose parent has not noticed yet still has its entry
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _ancestors_to_dvc() -> list[psutil.Process]:
    ancestors = []
    for process in psutil.Process().parents():
        ancestors.append(process)
        if any(part.endswith("dvc") for part in process.cmdline()[:3]):
            return ancestors
    return []
