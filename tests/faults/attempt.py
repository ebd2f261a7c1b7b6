"""One call of a command that trains in a project, watched from outside."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import yaml

from pipeline.runs.checkpoints import checkpoint_name, is_intact, saved_nimgs
from pipeline.tracking.jsonl import STATS_NAME, MetricsRecord, parse_record
from tests.faults.frozen import poll
from tests.support.forks import Command
from tests.support.processes import environment
from tests.support.train_project import TRAIN, Project

DVC = [sys.executable, "-m", "dvc"]


class Attempt:
    """The command, running; as a context it leaves none of its processes behind."""

    def __init__(self, project: Project, command: Sequence[str] = TRAIN) -> None:
        """`command` is DVC's, or the stage's module and arguments."""
        self._folder = project.folder
        self._log = self._folder / "log"
        self._num_lines_before = len(self._lines())
        self._log.write_text("")
        self.process: subprocess.Popen | Command
        if command[0] != TRAIN[0]:
            with open(self._log, "w") as log:
                self.process = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env=environment(),
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        else:
            self.process = Command(self._folder, *command, stdout=self._log)

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(self, *exception: object) -> None:
        for member in self.members():
            member.kill()
        self.process.wait()

    def told(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def records(self) -> list[MetricsRecord]:
        """What it has reported."""
        records = map(parse_record, self._lines()[self._num_lines_before :])
        return [record for record in records if isinstance(record, MetricsRecord)]

    def await_training(self) -> None:
        """Returns after its first report."""
        poll(lambda: self.records() or self.process.poll() is not None, 240, self.told)
        assert self.process.poll() is None, self.told()

    def writes(self, pattern: str) -> bool:
        """Whether such a file lies in the run folder."""
        return any(self._folder.glob(f"runs/*/{pattern}"))

    def members(self) -> list[psutil.Process]:
        """All its processes, itself first."""
        alive = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.process.pid:
                    alive.append(process)
            except ProcessLookupError:
                continue
        return sorted(alive, key=lambda process: process.pid != self.process.pid)

    def trainer(self) -> psutil.Process:
        """The process among them that trains."""
        if isinstance(self.process, Command):
            return psutil.Process(self.process.pid)
        (trainer,) = (
            process
            for process in self.members()
            if "stages.train" in process.cmdline() and "python" in process.name()
        )
        return trainer

    def end(self, timeout_s: float = 300) -> int:
        """Waits for its end; the exit code, negative for a signal."""
        return self.process.wait(timeout_s)

    def kill_all(self) -> None:
        """SIGKILL to all at once."""
        os.killpg(self.process.pid, signal.SIGKILL)

    def _lines(self) -> list[bytes]:
        path = next(self._folder.glob(f"runs/*/{STATS_NAME}"), None)
        return [] if path is None else path.read_bytes().split(b"\n")[:-1]


def has_ended(process: psutil.Process) -> bool:
    """Whether it runs no more, waited for or not."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def newest_intact(folder: Path) -> int:
    """Where a project's newest usable checkpoint stands; 0 without one."""
    for checkpoints in folder.glob("runs/*/checkpoints"):
        for nimg in reversed(saved_nimgs(checkpoints)):
            if is_intact(checkpoints / checkpoint_name(nimg)):
                return nimg
    return 0


def make_repro(project: Project) -> None:
    """Lets `dvc repro` run the stage there."""
    stage = {
        "cmd": "python -m stages.train --shards shards --out model",
        "deps": ["params.yaml"],
        "outs": ["model"],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    subprocess.run([*DVC, "init", "--no-scm", "-q"], cwd=project.folder, check=True)
