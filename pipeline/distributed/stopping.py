"""Why training stops early - a signal, or the death of what started it - and stopping together."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import psutil
import torch
import torch.distributed as dist

from pipeline.distributed.context import DistContext

LAUNCHER_VARIABLE = "SAGAN_LAB_LAUNCHER"
"""Environment variable with the process id of a launcher on this machine."""

_PROCESS_CHECK_INTERVAL_S = 0.2
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PARENT_GONE = "the process that started this stage is gone"
_STOPPED_BY_ANOTHER = "another process of this job was asked to stop"


class Interruption:
    """A context in which SIGTERM and SIGINT are only recorded, to be read between steps.

    When DVC or a launcher is killed this process would train on as an orphan, beside the next run
    of the same command. So the ancestors up to the farther of the two are checked too.
    """

    def __init__(self) -> None:
        self._signal: int | None = None
        self._previous: dict[int, signal._HANDLER] = {}
        launcher = int(os.environ.get(LAUNCHER_VARIABLE, 0))
        self._ancestors = _checked_ancestors(launcher)
        has_launcher = any(process.pid == launcher for process in self._ancestors)
        self._is_orphan = launcher != 0 and not has_launcher
        self._next_check_s = 0.0

    def __enter__(self) -> "Interruption":
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._record)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self._is_orphan:
            return _PARENT_GONE
        # Called before every step, and the state of a process is read from files: not every time.
        if self._ancestors and time.monotonic() >= self._next_check_s:
            self._next_check_s = time.monotonic() + _PROCESS_CHECK_INTERVAL_S
            if not all(_is_alive(process) for process in self._ancestors):
                return _PARENT_GONE
        return None

    def _record(self, number: int, frame: FrameType | None) -> None:
        self._signal = number


@contextmanager
def stop_reason(given: Callable[[], str | None] | None) -> Iterator[Callable[[], str | None]]:
    """Yields the function that returns why to stop: `given`, or that of an Interruption."""
    if given is not None:
        yield given  # perhaps in a thread, where no signal arrives
    else:
        with Interruption() as interruption:
            yield interruption.reason


class StopSync:
    """Combines `should_stop` of all processes, so that all stop at the same step.

    With several processes each answer is that of the previous call, so that the reduction runs
    while a step computes.
    """

    def __init__(self, should_stop: Callable[[], str | None], context: DistContext) -> None:
        self._should_stop = should_stop
        self._is_distributed = context.is_distributed
        self._own: str | None = None
        self._flag = torch.zeros(1)
        self._pending: dist.Work | None = None

    def ask(self) -> str | None:
        """A reason to stop now, or None; all processes get the same of the two. A collective."""
        if not self._is_distributed:
            return self._should_stop()
        reason = self._read()
        if reason is not None:
            return reason
        self._own = self._own or self._should_stop()
        self._flag.fill_(self._own is not None)
        self._pending = dist.all_reduce(self._flag, dist.ReduceOp.MAX, async_op=True)
        return None

    def close(self) -> None:
        """Waits for the pending reduction. A collective."""
        self._read()

    def _read(self) -> str | None:
        if self._pending is None:
            return None
        self._pending.wait()
        self._pending = None
        return None if self._flag.item() == 0 else self._own or _STOPPED_BY_ANOTHER


def _is_alive(process: psutil.Process) -> bool:
    try:  # a killed process keeps its entry until its parent has waited for it
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _checked_ancestors(launcher: int) -> list[psutil.Process]:
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
