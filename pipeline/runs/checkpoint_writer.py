"""Writes in the background, one thing at a time."""

import threading
import time
from collections.abc import Callable


class BackgroundWriter:
    """Runs one write on a thread; what it raises reaches whoever waits for it next.

    The thread is no daemon: a process that ends finishes its write first.
    """

    def __init__(self) -> None:
        self.waited_s = 0.0
        """Time that callers spent in `wait` so far, seconds."""
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, write: Callable[[], None]) -> None:
        """Starts a write after the one before; raises that one's error instead."""
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint-writer")
        self._thread.start()

    def wait(self) -> None:
        """Returns when nothing is in flight; raises the write's error, once."""
        if self._thread is not None:
            started = time.perf_counter()
            self._thread.join()
            self.waited_s += time.perf_counter() - started
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # it is the waiting thread's to handle
            self._error = error
