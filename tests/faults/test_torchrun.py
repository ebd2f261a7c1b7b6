"""Training in two processes under torchrun's agent, killed and interrupted."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import yaml

from tests.faults.conftest import COMMAND, environment, wait_for
from tests.training.test_session import assert_equal_weights


@pytest.fixture(scope="module")
def make_pair(make_project):
    """Makes project folders whose stage starts two workers."""

    def make(name, **train):
        project = make_project(name)
        path = project.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["runtime"] |= {"launcher": "torchrun", "num_workers": 2}
        params["train"] |= train
        path.write_text(yaml.safe_dump(params))
        return project

    return make


@pytest.fixture(scope="module")
def undisturbed(make_pair):
    return make_pair("undisturbed").finish()


def _workers(process):
    """The stage's worker processes, by rank."""
    children = psutil.Process(process.pid).children(recursive=True)
    workers = []
    for child in children:
        try:
            variables = child.environ()
        except psutil.NoSuchProcess:
            continue
        if "RANK" in variables and "stages.train" in child.cmdline():
            workers.append((int(variables["RANK"]), child))
    return [child for _, child in sorted(workers, key=lambda pair: pair[0])]


@pytest.mark.parametrize("rank", [0, 1])
def test_killed_worker_is_started_again(make_pair, undisturbed, rank):
    project = make_pair("worker")
    process = project.start()
    wait_for(lambda: len(project.checkpoints()) >= 2)
    _workers(process)[rank].kill()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert_equal_weights(project.folder / "model", undisturbed)


def test_killed_launcher_leaves_no_orphans(make_pair, undisturbed):
    project = make_pair("launcher")
    process = project.start()
    wait_for(project.checkpoints)
    workers = _workers(process)
    assert len(workers) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not any(worker.is_running() for worker in workers), timeout_s=20)
    process.stdout.close()
    assert not (project.folder / "model").exists()
    assert_equal_weights(project.finish(), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_workers_at_a_checkpoint(make_pair, undisturbed, number):
    project = make_pair("signalled")
    process = project.start()
    wait_for(project.checkpoints)
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 75, output
    assert "a checkpoint at" in output
    assert_equal_weights(project.finish(), undisturbed)


def test_mistake_is_not_tried_again(make_pair):
    project = make_pair("mistake", batch=15)
    done = subprocess.run(
        COMMAND, cwd=project.folder, env=environment(), capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("cannot be shared by 2 processes") == 1
    assert "Traceback" not in done.stderr


def test_dvc_runs_the_workers_and_their_number_reruns_nothing(make_pair, undisturbed):
    project = make_pair("dvc")
    stage = {
        "cmd": "python -m stages.train --shards shards --out model",
        "params": ["model", "train"],
        "outs": ["model"],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=project.folder, check=True)

    def repro():
        done = subprocess.run(
            [*dvc, "repro"],
            cwd=project.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    repro()
    assert_equal_weights(project.folder / "model", undisturbed)
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["runtime"] |= {"launcher": "inprocess", "num_workers": 1}
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params))
    assert "didn't change, skipping" in repro()


def test_somebodys_torchrun_starts_the_stage(make_pair, undisturbed):
    project = make_pair("by-hand")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *COMMAND[1:],
    ]
    done = subprocess.run(
        command,
        cwd=project.folder,
        env={**environment(), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert os.path.exists(project.folder / "model" / "config.json")
    assert_equal_weights(project.folder / "model", undisturbed)
