"""Two nodes for real: two network namespaces joined by a cable that is cut and mended.

Needs root and iproute2, and is skipped with the reason without them.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid

import pytest

from tests.support.processes import environment, wait_for
from tests.support.train_project import TRAIN
from tests.support.weights import assert_equal_weights


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True)


def _why_not():
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the ip command of iproute2"
    name = f"sagan-{uuid.uuid4().hex[:6]}"
    made = _ip("netns", "add", name)
    _ip("netns", "delete", name)
    return f"no network namespaces here: {made.stderr.strip()}" if made.returncode else None


class Nodes:
    """Two namespaces with addresses 10.77.0.1 and 10.77.0.2."""

    def __init__(self):
        tag = uuid.uuid4().hex[:6]
        self.names = [f"sagan-{tag}-{i}" for i in (1, 2)]
        self.cables = [f"sg{tag}{i}" for i in (1, 2)]
        for name in self.names:
            self._do("netns", "add", name)
        self._do("link", "add", self.cables[0], "type", "veth", "peer", "name", self.cables[1])
        for i, (name, cable) in enumerate(zip(self.names, self.cables, strict=True), start=1):
            self._do("link", "set", cable, "netns", name)
            self._do("-n", name, "addr", "add", f"10.77.0.{i}/24", "dev", cable)
            self._do("-n", name, "link", "set", "lo", "up")
            self._do("-n", name, "link", "set", cable, "up")

    def cut(self):
        self._do("-n", self.names[1], "link", "set", self.cables[1], "down")

    def mend(self):
        self._do("-n", self.names[1], "link", "set", self.cables[1], "up")

    def remove(self):
        for name in self.names:
            pids = _ip("netns", "pids", name).stdout.split()
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
            _ip("netns", "delete", name)

    def start(self, node, project, max_restarts):
        """A torchrun agent on node 1 or 2, as the README says to start it."""
        agent = [
            *(sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
            *(f"--max-restarts={max_restarts}", "--monitor-interval=0.5", "--rdzv-backend=c10d"),
            *("--rdzv-endpoint=10.77.0.1:29400", "--rdzv-id=pair", f"--local-addr=10.77.0.{node}"),
            f"--rdzv-conf=is_host={int(node == 1)},last_call_timeout=5,read_timeout=20",
            *("-m", *TRAIN),
        ]
        with open(project.folder / f"node-{node}.log", "w") as log:
            return subprocess.Popen(
                ["ip", "netns", "exec", self.names[node - 1], *agent],
                cwd=project.folder,
                env={
                    **environment(),
                    "GLOO_SOCKET_IFNAME": self.cables[node - 1],
                    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _do(self, *arguments):
        done = _ip(*arguments)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def nodes():
    if (reason := _why_not()) is not None:
        pytest.skip(reason)
    nodes = Nodes()
    yield nodes
    nodes.remove()


@pytest.fixture(scope="module")
def make_shared(make_project):
    """Makes project folders on what stands for the nodes' shared disk."""

    def make(name):
        project = make_project(name)
        project.configure(runtime={"join_timeout_s": 60})
        return project

    return make


def _logs(project):
    return "\n".join(path.read_text()[-6000:] for path in sorted(project.folder.glob("*.log")))


def _finish(agents, project, timeout_s):
    deadline = time.monotonic() + timeout_s
    for agent in agents:
        try:
            assert agent.wait(max(1, deadline - time.monotonic())) == 0, _logs(project)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running\n{_logs(project)}") from None


@pytest.mark.slow
def test_job_waits_for_a_cable_to_be_mended(nodes, make_shared):
    plain = make_shared("plain")
    _finish([nodes.start(n, plain, max_restarts=0) for n in (1, 2)], plain, 120)

    project = make_shared("cut")
    agents = [nodes.start(n, project, max_restarts=8) for n in (1, 2)]
    wait_for(lambda: len(project.checkpoints()) >= 2, timeout_s=240)
    nodes.cut()
    time.sleep(1)
    stopped_at = project.checkpoints()[-1]
    time.sleep(4)
    assert project.checkpoints()[-1] == stopped_at  # they cannot go on without each other
    nodes.mend()
    _finish(agents, project, 120)
    assert_equal_weights(project.folder / "model", plain.folder / "model")
