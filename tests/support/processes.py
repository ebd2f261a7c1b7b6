"""The environment of processes that tests start, and waiting for them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import psutil

from tests.support.project import ROOT


def environment() -> dict[str, str]:
    """This process's environment with the project importable and its Python first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """A TCP port of this machine that is not in use."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition: Callable[[], object], timeout_s: float = 240) -> None:
    """Polls until `condition()` is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Process(Protocol):
    """A Popen, or a Command of `forks`."""

    pid: int

    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


def kill_tree(process: Process) -> None:
    """SIGKILL for a process and all below it."""
    try:
        below = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        below = []
    process.kill()
    for child in below:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(timeout=10)
    if isinstance(process, subprocess.Popen):
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
