"""Processes of the real program: the train stage in a project folder, and waiting for them."""

import copy
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.support.project import ROOT

COMMAND = [sys.executable, "-m", "stages.train", "--shards", "shards", "--out", "model"]


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


class Project:
    """A folder with params.yaml and shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> subprocess.Popen:
        """Starts the stage in a process group of its own."""
        return subprocess.Popen(
            COMMAND,
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self) -> Path:
        """Runs the stage to its end and returns the exported model."""
        done = subprocess.run(
            COMMAND, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return self.folder / "model"

    def checkpoints(self) -> list[Path]:
        """All complete checkpoint files."""
        return sorted(self.folder.glob("runs/*/checkpoints/*.pt"))


@pytest.fixture(scope="module")
def make_project(
    tmp_path_factory: pytest.TempPathFactory, digits_shards: Path, default_params: dict
) -> Callable[[str], Project]:
    """Makes project folders with a small, quick run."""

    def make(name: str) -> Project:
        folder = tmp_path_factory.mktemp(name)
        (folder / "shards").symlink_to(digits_shards)
        params = copy.deepcopy(default_params)
        params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
        params["train"] |= {"batch": 8, "total_kimg": 0.8, "snapshot_kimg": 0.4}
        params["train"]["eval_kimg"] = None
        params["runtime"] |= {"status_kimg": 0.04, "checkpoint_kimg": 0.04, "tracker": "none"}
        params["runtime"]["num_threads"] = 1
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        return Project(folder)

    return make
