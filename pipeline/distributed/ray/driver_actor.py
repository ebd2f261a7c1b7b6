"""The Ray actor that passes logs, outcomes and stop requests between a job's driver and workers.

Ray would print log lines with the names of its actors before them, and takes any exception of a
worker for a failure to retry.
"""

import io
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.config.params import Params
from pipeline.core.errors import EXIT_USER_ERROR
from pipeline.distributed.ray.cluster import DriverEnv
from pipeline.distributed.work import Work, WorkerOutcome

_STOP_QUERY_INTERVAL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """A job as its trainer and each of its workers get it."""

    work: Work[Any]
    params: Params
    paths: Any
    """The `paths` of `work`."""
    num_workers: int
    bundle: dict[str, float]
    """Resources that each worker reserves."""
    use_gpu: bool
    env: DriverEnv
    driver: Any
    """Handle of the DriverActor."""


@dataclass(kw_only=True)
class JobStatus:
    """What the driver polls."""

    stderr: list[str] = field(default_factory=list)
    """New lines since the last poll."""
    stdout: list[str] = field(default_factory=list)
    """New lines since the last poll."""
    is_running: bool = False
    """Whether the workers of the latest attempt have started and not failed."""
    num_failures: int = 0
    outcomes: dict[int, WorkerOutcome] = field(default_factory=dict)
    """By rank."""
    user_error_age_s: float = 0.0
    """Seconds since a worker first raised UserError; 0 where none did."""


class DriverActor:
    """Runs as an actor on the driver's node; workers and driver call its methods."""

    def __init__(self) -> None:
        self._status = JobStatus()
        self._stop_reason: str | None = None
        self._user_error_s: float | None = None

    def write_stderr(self, line: str) -> None:
        """Adds a line to the driver's stderr."""
        self._status.stderr.append(line)

    def write_stdout(self, line: str) -> None:
        """Adds a line to the driver's stdout."""
        self._status.stdout.append(line)

    def worker_started(self) -> bool:
        """Returns whether the worker is to work: not when the job is over."""
        self._status.is_running = not self.is_over()
        return self._status.is_running

    def workers_failed(self, causes: str) -> None:
        """Counts a failure of the worker group and adds its causes to stderr."""
        self._status.is_running = False
        self._status.num_failures += 1
        self.write_stderr(causes)

    def worker_finished(self, rank: int, outcome: WorkerOutcome) -> None:
        """Records how a worker ended that must not be restarted."""
        self._status.outcomes[rank] = outcome
        if outcome.code == EXIT_USER_ERROR and self._user_error_s is None:
            self._user_error_s = time.monotonic()

    def is_over(self) -> bool:
        """Whether the main worker has finished, or any raised UserError."""
        return 0 in self._status.outcomes or self._user_error_s is not None

    def request_stop(self, reason: str) -> None:
        """Makes the workers save their state and end."""
        self._stop_reason = reason

    def stop_reason(self) -> str | None:
        """The reason of `request_stop`, or None."""
        return self._stop_reason

    def poll(self) -> JobStatus:
        """The status, with the lines that no earlier call returned."""
        status = JobStatus(**vars(self._status))
        if self._user_error_s is not None:
            status.user_error_age_s = time.monotonic() - self._user_error_s
        self._status.stderr, self._status.stdout = [], []
        return status


class StopQuery:
    """Queries the driver actor now and then whether to stop, without waiting for the answer."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._answer = driver.stop_reason.remote()
        self._next_s = 0.0

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if time.monotonic() < self._next_s:
            return None
        self._next_s = time.monotonic() + _STOP_QUERY_INTERVAL_S
        if not ray.wait([self._answer], timeout=0)[0]:
            return None
        reason = ray.get(self._answer)
        if reason is None:
            self._answer = self._driver.stop_reason.remote()
        return reason


class ActorStream(io.TextIOBase):
    """A text stream that passes whole lines to a method of an actor."""

    def __init__(self, method: Any, prefix: str = "") -> None:
        """`method` is called remotely with each line, after `prefix`."""
        self._method = method
        self._prefix = prefix
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Keeps what follows the last line end for the next call."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._method.remote(self._prefix + line)
        return len(text)
