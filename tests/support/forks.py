"""Commands of the project in processes that a preloaded server forks.

A fresh Python takes seconds to import torch, pyarrow and MLflow, longer than most commands of the
tests take to run. Tests about the start itself use `subprocess`.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.support.processes import environment

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "pipeline.jobs.evaluate",
        "pipeline.jobs.reference",
        "pipeline.jobs.report",
        "pipeline.jobs.series",
        "pipeline.jobs.shard",
        "pipeline.jobs.study",
        "pipeline.runs.train",
        "pipeline.search.drive",
        "pipeline.tracking.mlflow",
        "tests.distributed.train_worker",
        "tests.distributed.evaluate_worker",
        "torch._dynamo",
    ]
)


class Command:
    """A process that runs `python -m module arguments`, with the methods of a Popen.

    It leads a session of its own. stdout and stderr go to files.
    """

    def __init__(
        self,
        folder: Path,
        module: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stderr: Path | None = None,
        stdout: Path | None = None,
    ) -> None:
        """`folder` is the working directory; without `stderr` both streams are one."""
        self.args = ["-m", module, *arguments]
        self._stdout = stdout or folder.parent / f"{folder.name}-{uuid.uuid4().hex[:8]}.log"
        self._stderr = stderr or self._stdout
        for path in (self._stdout, self._stderr):
            path.touch()
        self._process: BaseProcess = FORKS.Process(
            target=_run,
            args=(module, arguments, str(folder), dict(env or environment())),
            kwargs={"stdout": str(self._stdout), "stderr": str(self._stderr)},
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; the exit code."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; what it printed."""
        self.wait(timeout)
        stderr = "" if self._stderr == self._stdout else self._stderr.read_text()
        return self._stdout.read_text(), stderr

    def send_signal(self, number: int) -> None:
        """Sends a signal to the process, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Sends SIGKILL."""
        self.send_signal(signal.SIGKILL)


def run_command(
    folder: Path,
    module: str,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> "subprocess.CompletedProcess[str]":
    """Runs `python -m module arguments` in `folder` to its end, as `subprocess.run` would."""
    log = folder.parent / f"{folder.name}-{uuid.uuid4().hex[:8]}"
    command = Command(
        folder,
        module,
        *arguments,
        env=env,
        stdout=log.with_suffix(".out"),
        stderr=log.with_suffix(".err"),
    )
    try:
        stdout, stderr = command.communicate(timeout)
    finally:
        command.kill()
    return subprocess.CompletedProcess(command.args, command.wait(), stdout, stderr)


def _run(
    module: str,
    arguments: tuple[str, ...],
    folder: str,
    env: dict[str, str],
    *,
    stdout: str,
    stderr: str,
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    tempfile.tempdir = None  # may differ by TMPDIR
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", torch.get_num_threads())))
    for stream, path in ((sys.stdout, stdout), (sys.stderr, stderr)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        stream.flush()
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
