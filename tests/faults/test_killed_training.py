"""Real train processes, killed and interrupted; the end must be that of an undisturbed run."""

import os
import signal
import subprocess
import sys

import psutil
import yaml

from tests.support.processes import environment, wait_for
from tests.support.weights import assert_equal_weights


def test_killed_at_several_moments_ends_bit_equal(make_project, undisturbed):
    project = make_project("killed")
    for num_checkpoints in (1, 3, 4):
        before = {path.name for path in project.checkpoints()}
        process = project.start()
        wait_for(
            lambda before=before, wanted=num_checkpoints: (
                len({path.name for path in project.checkpoints()} - before) >= min(wanted, 2)
            )
        )
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (project.folder / "model").exists()
    assert_equal_weights(project.finish(), undisturbed)


def test_signals_leave_a_checkpoint_and_exit_75(make_project, undisturbed):
    project = make_project("signalled")
    for number in (signal.SIGTERM, signal.SIGINT):
        before = {path.name for path in project.checkpoints()}
        process = project.start()
        wait_for(lambda before=before: {path.name for path in project.checkpoints()} - before)
        process.send_signal(number)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 75, output
        assert f"stopped: {number.name}; a checkpoint at" in output
        assert "Traceback" not in output
    assert_equal_weights(project.finish(), undisturbed)


def test_second_writer_is_refused_until_the_first_dies(make_project):
    project = make_project("shared")
    first = project.start()
    wait_for(project.checkpoints)
    second = project.start()
    output, _ = second.communicate(timeout=240)
    assert second.returncode == 2
    assert f"is being written by process {first.pid}" in output
    assert "Traceback" not in output
    first.kill()
    first.communicate()
    project.finish()


def test_death_of_dvc_ends_its_orphan_and_the_next_repro_goes_on(make_project, undisturbed):
    project = make_project("orphaned")
    stage = {
        "cmd": "python -m stages.train --shards shards --out model",
        "deps": ["params.yaml"],
        "outs": ["model"],
    }
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "--no-scm", "-q"], cwd=project.folder, check=True)
    process = subprocess.Popen(
        [*dvc, "repro"],
        cwd=project.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(project.checkpoints)
    trainers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "stages.train" in child.cmdline() and "python" in child.name()
    ]
    assert len(trainers) == 1
    process.kill()
    process.communicate()
    wait_for(lambda: not trainers[0].is_running(), timeout_s=20)
    assert not (project.folder / "model").exists()
    done = subprocess.run(
        [*dvc, "repro"],
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal_weights(project.folder / "model", undisturbed)
