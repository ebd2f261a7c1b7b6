"""Where the driver of a Ray job and its workers meet: an actor on the driver's node.

Workers leave their lines and their outcomes there and ask whether to stop. Ray itself would print
lines with the names of its actors before them, and takes any exception for a failure to be retried.
"""

import io
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import ray

from pipeline.core.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, UserError

_ASK_INTERVAL_S = 0.5


@dataclass(kw_only=True)
class News:
    """What a desk knows."""

    lines: list[str] = field(default_factory=list)
    """Those for stderr that came since the driver last looked."""
    results: list[str] = field(default_factory=list)
    """The same for stdout."""
    is_training: bool = False
    """Whether the workers of the latest attempt have started and not failed."""
    num_failures: int = 0
    outcomes: dict[int, tuple[int, str]] = field(default_factory=dict)
    """(exit code, message) by rank."""

    mistake_age_s: float = 0.0
    """How long ago a worker first raised UserError; 0 where none did."""

    def raise_outcome(self) -> None:
        """Raises UserError as the first worker did that met one, or Preempted as the main one."""
        for _, (code, message) in sorted(self.outcomes.items()):
            if code == EXIT_USER_ERROR:
                raise UserError(message)

        code, message = self.outcomes.get(0, (0, ""))
        if code == EXIT_PREEMPTED:
            raise Preempted(message)


class Desk:
    """An actor's class; its methods are called from afar."""

    def __init__(self) -> None:
        self._news = News()
        self._stop_reason: str | None = None
        self._mistake_s: float | None = None

    def say(self, line: str) -> None:
        """A line for the driver's stderr."""
        self._news.lines.append(line)

    def give(self, line: str) -> None:
        """A line for the driver's stdout."""
        self._news.results.append(line)

    def start(self) -> bool:
        """Whether a starting worker has anything to do: not where the job has its outcome."""
        self._news.is_training = not self.is_over()
        return self._news.is_training

    def fail(self, line: str) -> None:
        """Tells that the workers failed."""
        self._news.is_training = False
        self._news.num_failures += 1
        self.say(line)

    def end(self, rank: int, code: int, message: str) -> None:
        """Tells how a worker ended that must not be started again."""
        self._news.outcomes[rank] = (code, message)
        if code == EXIT_USER_ERROR and self._mistake_s is None:
            self._mistake_s = time.monotonic()

    def is_over(self) -> bool:
        """Whether the main worker is through, or any met a mistake of the user's."""
        return 0 in self._news.outcomes or self._mistake_s is not None

    def ask_to_stop(self, reason: str) -> None:
        """Asks the workers to save what they have and end."""
        self._stop_reason = reason

    def stop_reason(self) -> str | None:
        """What `ask_to_stop` was given."""
        return self._stop_reason

    def read(self) -> News:
        """The news; the lines are handed out once."""
        news = News(**vars(self._news))
        if self._mistake_s is not None:
            news.mistake_age_s = time.monotonic() - self._mistake_s
        self._news.lines, self._news.results = [], []
        return news


class StopRequests:
    """Asks the desk now and then whether to stop, without waiting for the answer."""

    def __init__(self, desk: Any) -> None:
        self._desk = desk
        self._answer = desk.stop_reason.remote()
        self._next_look_s = 0.0

    def reason(self) -> str | None:
        """Why to stop now, or None."""
        if time.monotonic() < self._next_look_s:
            return None
        self._next_look_s = time.monotonic() + _ASK_INTERVAL_S
        if not ray.wait([self._answer], timeout=0)[0]:
            return None
        reason = ray.get(self._answer)
        if reason is None:
            self._answer = self._desk.stop_reason.remote()
        return reason


class DeskStream(io.TextIOBase):
    """Takes text as a file does and gives whole lines to the desk."""

    def __init__(self, take: Any, prefix: str = "") -> None:
        """`take` is a method of the desk's handle for lines."""
        self._take = take
        self._prefix = prefix
        self._rest = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Keeps what stands behind the last line's end for the next call."""
        with self._lock:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                self._take.remote(self._prefix + line)
        return len(text)
