"""Training as a Ray job: on this machine alone, and on a cluster that loses a node."""

import copy
import os
import signal
import time

import psutil
import pytest
import torch
import yaml

from tests.faults.conftest import Project, wait_for
from tests.launching.job import newest_state
from tests.launching.ray_nodes import RayNodes, is_listening, kill_tree

PATIENCE_S = 120


@pytest.fixture(scope="module")
def make_project(tmp_path_factory, digits_shards, default_params):
    """Makes project folders with a small run of two workers under Ray, in float64."""

    def make(name, **runtime):
        folder = tmp_path_factory.mktemp(name)
        (folder / "shards").symlink_to(digits_shards)
        params = copy.deepcopy(default_params)
        params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
        params["train"] |= {"batch": 16, "total_kimg": 0.8, "precision": "fp64"}
        params["runtime"] |= {"status_kimg": 0.08, "checkpoint_kimg": 0.08, "tracker": "none"}
        params["runtime"] |= {"launcher": "ray", "num_workers": 2, "num_threads": 1, **runtime}
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        return Project(folder)

    return make


@pytest.fixture(scope="module")
def undisturbed(make_project):
    project = make_project("undisturbed", launcher="inprocess", num_workers=1)
    project.finish()
    return newest_state(project.folder)


@pytest.fixture(scope="module")
def cluster():
    with RayNodes() as nodes:
        wait_for(lambda: is_listening(nodes.address))
        yield nodes


@pytest.fixture
def joined(cluster, monkeypatch):
    """The cluster, with the environment that makes the stage join it."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return cluster


@pytest.fixture
def start():
    """Starts a project's stage; whatever is left of it at the end is killed."""
    started = []

    def run(project):
        started.append(project.start())
        return started[-1]

    yield run
    for process in started:
        kill_tree(process)


def _end(process):
    """(exit code, output) of a stage that ends by itself."""
    output, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, output


def _assert_same(project, expected):
    state = newest_state(project.folder)
    assert state["nimg"] == expected["nimg"] == 800
    assert (project.folder / "model").is_dir()
    for network in ("G", "D", "G_ema"):
        for name, tensor in expected[network].items():
            if "spectral_" not in name:  # singular vectors may flip their sign
                torch.testing.assert_close(state[network][name], tensor, rtol=0, atol=1e-9)


def _is_alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _workers(processes):
    """Those of them that train; Ray names them so."""
    return [p for p in processes if _is_alive(p) and "RayTrainWorker" in " ".join(p.cmdline())]


def test_two_workers_on_this_machine(make_project, undisturbed, start):
    project = make_project("local")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    below = psutil.Process(process.pid).children(recursive=True)
    code, output = _end(process)
    assert code == 0, output
    _assert_same(project, undisturbed)
    assert "0.1/0.8 kimg" in output
    assert "(pid=" not in output  # nothing of Ray's own between the lines
    assert len(below) > 3
    wait_for(lambda: not any(map(_is_alive, below)), timeout_s=10)


def test_too_many_workers_are_refused_at_once(make_project, start):
    project = make_project("many", num_workers=100)
    code, output = _end(start(project))
    assert code == 2, output
    assert "runtime.num_workers = 100 of {CPU: 1} each do not fit: this machine has" in output
    assert "lower runtime.num_workers or runtime.resources_per_worker" in output
    assert "Traceback" not in output


def test_absent_cluster_is_named(make_project, start, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    code, output = _end(start(make_project("absent")))
    assert code == 2, output
    assert "no usable Ray cluster at RAY_ADDRESS = 127.0.0.1:9" in output
    assert "Traceback" not in output


def test_mistake_in_a_worker_is_no_failure(make_project, joined, start):
    project = make_project("mistaken")
    (project.folder / "shards").unlink()
    code, output = _end(start(project))
    assert code == 2, output
    assert output.count("error:") == 1
    assert "shards" in output
    assert "start again" not in output
    assert "Traceback" not in output


def test_signal_stops_all_workers_at_a_checkpoint(make_project, undisturbed, joined, start):
    project = make_project("signalled")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    start_s = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    code, output = _end(process)
    assert code == 75, output
    assert time.monotonic() - start_s < 30
    assert "stopped: SIGTERM; a checkpoint at" in output
    assert "Traceback" not in output
    assert newest_state(project.folder)["nimg"] < 800
    code, output = _end(start(project))
    assert code == 0, output
    _assert_same(project, undisturbed)


def test_lost_node(make_project, undisturbed, joined, start):
    node = joined.add(num_cpus=1)
    tenant = joined.add_tenant()  # so that each node has room for one worker
    project = make_project("lost")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    assert len(_workers(psutil.Process(node.pid).children(recursive=True))) == 1
    tenant.stdin.close()
    kill_tree(node)
    assert newest_state(project.folder)["nimg"] < 800
    code, output = _end(process)
    assert code == 0, output
    assert "all workers start again from the last checkpoint (2 more times at most)" in output
    _assert_same(project, undisturbed)


def test_killed_driver_leaves_no_workers(make_project, joined, start):
    project = make_project("orphans")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    workers = _workers(joined.processes())
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(_is_alive, workers)), timeout_s=20)
    assert not (project.folder / "model").exists()
