"""Training as a Ray job: on this machine alone, and on a cluster that loses a node."""

import copy
import os
import signal

import psutil
import pytest
import torch
import yaml

from pipeline.core.errors import Preempted, UserError
from pipeline.distributed.ray.driver_actor import DriverActor
from pipeline.distributed.ray.job import worker_bundle
from pipeline.distributed.work import WorkerOutcome, raise_outcome
from tests.distributed.job import newest_state
from tests.support.processes import kill_tree, wait_for
from tests.support.train_project import Project

PATIENCE_S = 300


@pytest.fixture(scope="module")
def make_project(tmp_path_factory, digits_shards, default_params):
    """Makes project folders with a small run of two workers under Ray, in float64."""

    def make(name, **runtime):
        folder = tmp_path_factory.mktemp(name)
        (folder / "shards").symlink_to(digits_shards)
        params = copy.deepcopy(default_params)
        params["model"] |= {"g_width": 2, "d_width": 2, "z_dim": 8}
        params["train"] |= {"batch": 16, "total_kimg": 0.48, "precision": "fp64"}
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
    assert state["nimg"] == expected["nimg"] == 480
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


def _workers(context):
    """Those of them that train; Ray names them so."""
    return [p for p in context if _is_alive(p) and "RayTrainWorker" in " ".join(p.cmdline())]


@pytest.mark.slow
def test_signal_stops_workers_on_this_machine(make_project, undisturbed, start):
    project = make_project("local")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    below = psutil.Process(process.pid).children(recursive=True)
    assert len(_workers(below)) == 2
    os.killpg(process.pid, signal.SIGTERM)  # Ray's processes get it too
    code, output = _end(process)
    assert code == 75, output
    assert "stopped: SIGTERM; a checkpoint at" in output
    assert "Traceback" not in output
    assert newest_state(project.folder)["nimg"] < 480
    wait_for(lambda: not any(map(_is_alive, below)), timeout_s=10)
    code, output = _end(start(project))
    assert code == 0, output
    _assert_same(project, undisturbed)
    assert "0.5/0.5 kimg" in output
    assert "pid=" not in output  # nothing of Ray's own between the lines


def test_too_many_workers_are_refused_at_once(make_project, start):
    project = make_project("many", num_workers=100)
    code, output = _end(start(project))
    assert code == 2, output
    assert "runtime.num_workers = 100 of {CPU: 1} each do not fit: this machine has" in output
    assert "lower runtime.num_workers or runtime.resources_per_worker" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("resources", [{"CPU": 0}, {"CPU": -1}, {"CPU": 2, "GPU": -1}])
def test_resources_that_reserve_nothing(resources):
    with pytest.raises(UserError, match=r"runtime\.resources_per_worker = .* reserves nothing"):
        worker_bundle(resources, use_gpu=False)


def test_resources_of_a_worker():
    assert worker_bundle({}, use_gpu=False) == {"CPU": 1}
    assert worker_bundle({}, use_gpu=True) == {"GPU": 1}
    assert worker_bundle({"CPU": 4}, use_gpu=True) == {"CPU": 4, "GPU": 1}


def test_job_is_over_when_the_main_worker_has_finished_or_any_raised_user_error():
    driver = DriverActor()
    assert driver.worker_started()
    driver.write_stderr("a line")
    status = driver.poll()
    assert status.is_running
    assert status.stderr == ["a line"]
    driver.workers_failed("it failed")
    status = driver.poll()
    assert not status.is_running
    assert status.num_failures == 1
    assert status.stderr == ["it failed"]
    assert driver.worker_started()
    driver.worker_finished(1, WorkerOutcome.of(Preempted("stopped")))
    assert not driver.is_over()
    raise_outcome(driver.poll().outcomes)  # only the main worker can name the checkpoint
    driver.worker_finished(0, WorkerOutcome.of(Preempted("stopped with a checkpoint")))
    assert driver.is_over()
    with pytest.raises(Preempted, match="with a checkpoint"):
        raise_outcome(driver.poll().outcomes)
    driver.worker_finished(1, WorkerOutcome.of(UserError("a mistake")))
    with pytest.raises(UserError, match="a mistake"):
        raise_outcome(driver.poll().outcomes)
    assert not driver.worker_started()  # after a failure that came later than the outcome


def test_what_is_not_public_in_ray_train_is_as_it_was():
    from ray.exceptions import RayActorError  # takes seconds to import
    from ray.train.v2._internal import exceptions

    from pipeline.distributed.ray import train_group

    advice = "adapt is_startup_timeout and death_of in pipeline/distributed/ray/train_group.py"
    died = RayActorError()
    assert train_group.is_startup_timeout(exceptions.WorkerGroupStartupTimeoutError(2)), advice
    assert train_group.death_of(exceptions.WorkerHealthCheckFailedError("", died)), advice
    assert train_group.death_of(ValueError()) is None


def test_absent_cluster_is_named(make_project, start, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    code, output = _end(start(make_project("absent")))
    assert code == 2, output
    assert "no usable Ray cluster at RAY_ADDRESS = 127.0.0.1:9" in output
    assert "Traceback" not in output


def test_room_in_a_cluster_is_waited_for(make_project, joined, start):
    project = make_project("waiting", num_workers=9, join_timeout_s=4)
    code, output = _end(start(project))
    assert code == 2, output
    assert "waiting up to 4 s: runtime.num_workers = 9 of {CPU: 1} each do not fit" in output
    assert "the Ray cluster has {CPU: 2}, free are {CPU: 2}, room for 2 at most" in output
    assert "or add nodes; waited 4 s (runtime.join_timeout_s)" in output
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


@pytest.mark.slow
def test_lost_node(make_project, undisturbed, joined_alone, start):
    node = joined_alone.add(num_cpus=1)
    other_job = joined_alone.add_other_job()  # so that each node has room for one worker
    project = make_project("lost")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    assert len(_workers(psutil.Process(node.pid).children(recursive=True))) == 1
    other_job.stdin.close()
    kill_tree(node)
    assert newest_state(project.folder)["nimg"] < 480
    code, output = _end(process)
    assert code == 0, output
    assert "all workers start again from the last checkpoint (2 more times at most)" in output
    _assert_same(project, undisturbed)


def test_killed_driver_leaves_no_workers(make_project, joined, start, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # for what it has no chance to remove
    project = make_project("orphans")
    process = start(project)
    wait_for(project.checkpoints, PATIENCE_S)
    workers = _workers(joined.processes())
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(map(_is_alive, workers)), timeout_s=20)
    assert not (project.folder / "model").exists()
