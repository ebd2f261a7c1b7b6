"""Training in two processes under torchrun's agent, killed and interrupted."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import yaml

from tests.support.forks import run_command
from tests.support.processes import environment, wait_for
from tests.support.train_project import TRAIN
from tests.support.weights import assert_equal_weights


@pytest.fixture(scope="module")
def make_pair(make_project):
    """Makes project folders whose stage starts two workers."""

    def make(name, **train):
        project = make_project(name)
        project.configure(
            runtime={"launcher": "torchrun", "num_workers": 2},
            train={"total_kimg": 0.48, **train},
        )
        return project

    return make


def _repro(project):
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def reproduced(make_pair):
    """A project whose stage `dvc repro` has run to its end."""
    project = make_pair("dvc")
    stage = {
        "cmd": "python -m stages.train --shards shards --out model",
        "params": ["model", "train"],
        "outs": ["model"],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    init = [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"]
    subprocess.run(init, cwd=project.folder, check=True)
    _repro(project)
    return project


@pytest.fixture(scope="module")
def undisturbed(reproduced):
    return reproduced.folder / "model"


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


def _await_checkpoints(project, number):
    """Returns after so many new ones."""
    before = {path.name for path in project.checkpoints()}
    wait_for(lambda: len({path.name for path in project.checkpoints()} - before) >= number)


def test_killed_workers_are_started_again(make_pair, undisturbed):
    project = make_pair("worker")
    process = project.start()
    for rank in (0, 1):
        _await_checkpoints(project, 2)
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
    assert not (project.folder / "model").exists()
    assert_equal_weights(project.finish(), undisturbed)


def test_signals_stop_all_workers_at_a_checkpoint(make_pair, undisturbed):
    project = make_pair("signalled")
    for number in (signal.SIGTERM, signal.SIGINT):
        process = project.start()
        _await_checkpoints(project, 1)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 75, output
        assert "a checkpoint at" in output
    assert_equal_weights(project.finish(), undisturbed)


def test_mistake_is_not_tried_again(make_pair):
    project = make_pair("mistake", batch=15)
    done = run_command(project.folder, *TRAIN)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("cannot be shared by 2 processes") == 1
    assert "Traceback" not in done.stderr


def test_number_of_workers_reruns_nothing(reproduced):
    reproduced.configure(runtime={"launcher": "inprocess", "num_workers": 1})
    assert "didn't change, skipping" in _repro(reproduced)


def test_somebodys_torchrun_starts_the_stage(make_pair, undisturbed):
    project = make_pair("by-hand")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", *TRAIN),
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
