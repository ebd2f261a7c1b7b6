"""Ray nodes as processes of this machine, each with an address of the loopback net.

`python -m tests.support.ray_nodes ADDRESS` is another job of the cluster: it waits for two nodes
and then reserves one CPU of the first until its input ends.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import free_port, kill_tree, wait_for
from tests.support.project import ROOT

HEAD_IP = "127.0.0.2"  # Ray replaces 127.0.0.1 by an outer address
# A dead node is noticed within seconds instead of half a minute.
_QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


class RayNodes:
    """A context with a cluster, at first of one node with 2 CPUs."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="rn-", dir="/tmp")
        self._started: list[subprocess.Popen] = []
        port = free_port()
        self.address = f"{HEAD_IP}:{port}"
        """For RAY_ADDRESS."""
        self._start("--head", f"--port={port}", "--include-dashboard=false", "--num-cpus=2")

    def __enter__(self) -> "RayNodes":
        wait_for(lambda: _is_listening(self.address))
        return self

    def __exit__(self, *exception: object) -> None:
        for process in self._started:
            kill_tree(process)
        shutil.rmtree(self._folder, ignore_errors=True)

    def connect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Sets the environment that makes a command connect to the cluster."""
        monkeypatch.setenv("RAY_ADDRESS", self.address)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster."""
        nodes = [psutil.Process(p.pid) for p in self._started if p.poll() is None]
        return [child for node in nodes for child in node.children(recursive=True)]

    def add(self, num_cpus: int) -> subprocess.Popen:
        """Starts another node; to be ended by `kill_tree`."""
        return self._start(f"--address={self.address}", f"--num-cpus={num_cpus}")

    def add_other_job(self) -> subprocess.Popen:
        """Starts another job, as the module docstring says; returns when it has its CPU."""
        job = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.ray_nodes", self.address],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._started.append(job)
        assert job.stdout is not None
        assert job.stdout.readline() == "held\n"
        return job

    def _start(self, *options: str) -> subprocess.Popen:
        number = len(self._started) + 2
        log = Path(self._folder, f"node-{number}.log")
        with open(log, "w") as output:
            process = subprocess.Popen(
                [
                    *(str(Path(sys.executable).with_name("ray")), "start", "--block", *options),
                    *(f"--node-ip-address=127.0.0.{number}", "--object-store-memory=100000000"),
                    *("--disable-usage-stats", f"--temp-dir={self._folder}"),
                ],
                env=environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._started.append(process)
        return process


def environment() -> dict[str, str]:
    """For processes of the cluster."""
    return {**os.environ, **_QUICK, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": ""}


def _is_listening(address: str) -> bool:
    """Whether a TCP server answers."""
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayNodes]:
    """A Ray cluster of one node with two CPUs."""
    with RayNodes() as nodes:
        yield nodes


@pytest.fixture
def joined(cluster: RayNodes, monkeypatch: pytest.MonkeyPatch) -> RayNodes:
    """The cluster, with the environment that makes a command connect to it."""
    cluster.connect(monkeypatch)
    return cluster


@pytest.fixture
def joined_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[RayNodes]:
    """As `joined`, with a cluster of its own, for a test that kills nodes."""
    with RayNodes() as nodes:
        nodes.connect(monkeypatch)
        yield nodes


def _hold(address: str) -> None:
    import time

    import ray
    from ray.util.placement_group import placement_group

    ray.init(address=address, log_to_driver=False)
    while sum(node["Alive"] for node in ray.nodes()) < 2:
        time.sleep(0.1)
    held = placement_group([{"CPU": 1, f"node:{HEAD_IP}": 0.001}])
    assert held.wait()
    print("held", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _hold(sys.argv[1])
