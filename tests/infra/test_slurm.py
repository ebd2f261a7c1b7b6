"""The Slurm script with real torchrun, training and signals, and no Slurm.

What stands in for Slurm's programs does on this machine what they do on a node. By hand the script
was run under Slurm 22.05 too.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment, wait_for
from tests.support.project import ROOT

SCONTROL = """#!/bin/sh
case "$1" in
  show) echo 127.0.0.1; echo other-node ;;
  requeue) echo "requeued $2" ;;
esac
"""
SRUN = """#!/bin/bash
[ "$1" = --kill-on-bad-exit=1 ] || exit 9
shift
echo $$ >"$(dirname "$0")/step"
exec "$@"
"""
SCANCEL = """#!/bin/sh
[ "$*" = "--signal=TERM 17.0" ] || exit 9
kill -TERM "$(cat "$(dirname "$0")/step")"
"""


@pytest.fixture
def submit(tmp_path):
    """Starts the script in a project as `sbatch` does."""
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "scancel": SCANCEL}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    started = []

    def start(project):
        inherited = environment()
        process = subprocess.Popen(
            ["bash", str(ROOT / "infra" / "slurm.sh"), "--shards", "shards", "--out", "model"],
            env={
                **inherited,
                "PATH": f"{tmp_path}:{Path(sys.executable).parent}:{inherited['PATH']}",
                "SLURM_SUBMIT_DIR": str(project.folder),
                "SLURM_JOB_ID": "17",
                "SLURM_JOB_NODELIST": "node[1-2]",
                "SLURM_NNODES": "1",
                "SLURM_GPUS_ON_NODE": "2",
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.stdout.close()


def test_job_queues_itself_again_and_goes_on(submit, make_project):
    project = make_project("slurm")
    project.configure(train={"total_kimg": 0.8})
    job = submit(project)
    wait_for(lambda: project.checkpoints() or job.poll() is not None)
    job.send_signal(signal.SIGUSR1)  # Slurm, before the time is up
    output, _ = job.communicate(timeout=120)
    assert job.returncode == 0, output
    assert "requeued 17" in output
    assert not (project.folder / "model").exists()

    job = submit(project)
    output, _ = job.communicate(timeout=240)
    assert job.returncode == 0, output
    assert "requeued" not in output
    assert (project.folder / "model").is_dir()


def test_outside_of_slurm(tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "infra" / "slurm.sh")],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "submit this script with" in done.stderr
