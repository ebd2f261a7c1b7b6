"""The train stage with `runtime.mirror`: lost machines, dead and slow servers, full disks."""

import re
import shutil
import signal
import time

import pytest
import yaml

from pipeline.runs.backup_transfer import complete_nimgs
from pipeline.storage.s3 import S3Folder
from tests.faults.attempt import Attempt, newest_intact
from tests.faults.frozen import frozen, poll
from tests.support.processes import wait_for
from tests.support.s3_server import FaultyS3, serve_s3
from tests.support.train_project import TRAIN, Project
from tests.support.weights import assert_equal_weights


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


@pytest.fixture
def project(make_project, server) -> Project:
    """A project with a backup in an empty bucket."""
    project = make_project("with-backup")
    project.configure(runtime={"mirror": server.new_bucket()})
    return project


def train_and_lose_the_machine(project: Project, server: FaultyS3) -> int:
    """Trains until three checkpoints are backed up, then all files are gone; the newest one's nimg.

    It comes back as another machine: the same project with no run in it.
    """
    with Attempt(project) as attempt:
        poll(lambda: server.count("PUT", r"latest\.json") >= 3, 240, attempt.told)
        attempt.kill_all()
    server.forget_the_dead()
    (run_dir,) = project.folder.glob("runs/*")
    backup = backup_of(project, run_dir.name)
    shutil.rmtree(project.folder / "runs")
    return max(complete_nimgs({item.name for item in backup.list()}))


def backup_of(project: Project, run_name: str) -> S3Folder:
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    return S3Folder(params["runtime"]["mirror"]).folder(run_name)


def assert_backup_is_complete(project: Project) -> None:
    (run_dir,) = project.folder.glob("runs/*")
    backup = backup_of(project, run_dir.name)
    files = {
        path.relative_to(run_dir).as_posix(): path.read_bytes()
        for path in run_dir.rglob("*")
        if path.is_file() and path.name != "lock"
    }
    there = {item.name: item.bytes for item in backup.list()}
    assert {name: there[name] for name in files} == {
        name: len(content) for name, content in files.items()
    }
    newest = max(name for name in files if name.endswith(".pt"))
    assert backup.get(newest) == files[newest]


def test_another_machine_goes_on_from_the_backup(project, server, undisturbed):
    nimg = train_and_lose_the_machine(project, server)
    with Attempt(project) as attempt:
        assert attempt.end() == 0, attempt.told()
        assert f"checkpoint-{nimg:09d}.pt" in attempt.told().splitlines()[0]
        assert "going on from s3://" in attempt.told().splitlines()[0]
        assert "warning" not in attempt.told()
        # The statistics came back too, and go on behind the checkpoint.
        nimgs = [record.nimg for record in attempt.records()]
        assert sorted(set(nimgs)) == list(range(40, 801, 40))
        assert len(nimgs) - len(set(nimgs)) <= 3
    assert_equal_weights(project.folder / "model", undisturbed)
    assert_backup_is_complete(project)


def test_restart_discards_the_run_in_the_backup_too(project, server, undisturbed):
    nimg = train_and_lose_the_machine(project, server)
    with Attempt(project, [*TRAIN, "--restart"]) as attempt:
        attempt.await_training()
        assert server.count("DELETE", f"checkpoint-{nimg:09d}") == 2  # and its checksum
        assert attempt.records()[0].nimg == 40
        assert attempt.end() == 0, attempt.told()
        assert "going on from" not in attempt.told()
    assert_equal_weights(project.folder / "model", undisturbed)
    assert_backup_is_complete(project)


# The first is hopeless at once; the second is tried again and again, perhaps to the end.
@pytest.mark.parametrize("fault", ["403 AccessDenied", "503 SlowDown"])
def test_server_fails_in_the_middle(project, server, undisturbed, fault):
    with Attempt(project) as attempt:
        poll(lambda: server.count("PUT", r"latest\.json"), 240, attempt.told)
        server.fail(fault)
        assert attempt.end() == 0, attempt.told()
        *warnings, last = [line for line in attempt.told().splitlines() if "warning" in line]
    assert "the next run of the same command sends them" in last
    assert len(warnings) == 1 or (fault == "503 SlowDown" and not warnings)
    assert all("falls behind while training goes on" in line for line in warnings)
    assert_equal_weights(project.folder / "model", undisturbed)
    server.heal()
    project.finish()
    assert_backup_is_complete(project)


def test_server_is_dead_when_a_run_with_a_checkpoint_starts(project, server, undisturbed):
    with Attempt(project) as attempt:
        poll(lambda: newest_intact(project.folder), 240, attempt.told)
        attempt.kill_all()
    nimg = newest_intact(project.folder)
    server.fail("500 InternalError")
    with Attempt(project) as attempt:
        assert attempt.end() == 0, attempt.told()
        assert attempt.records()[0].nimg == nimg + 40
        assert "going on from runs/" in attempt.told()
        assert "Traceback" not in attempt.told()
    assert_equal_weights(project.folder / "model", undisturbed)


def test_server_is_dead_when_a_new_run_starts(project, server):
    server.fail("500 InternalError")
    with Attempt(project) as attempt:
        assert attempt.end() == 2
        (sentence,) = attempt.told().splitlines()
    assert sentence.startswith("error: ")
    assert "failed repeatedly, last with 500 InternalError" in sentence


def test_sigterm_twice_beside_a_slow_server(project, server, undisturbed):
    # The only checkpoint is that of the end.
    project.configure(runtime={"checkpoint_kimg": 0.8})
    with Attempt(project) as attempt:
        attempt.await_training()
        server.fail("delay", seconds=60)
        asked_s = time.monotonic()
        attempt.process.send_signal(signal.SIGTERM)
        while True:
            poll(lambda: attempt.writes("checkpoints/*.pt.tmp"), 240, attempt.told)
            with frozen([attempt.process.pid]):
                if attempt.writes("checkpoints/*.pt.tmp"):
                    attempt.process.send_signal(signal.SIGTERM)
                    break
        assert attempt.end(60) == 75, attempt.told()
        assert time.monotonic() - asked_s < 60  # less than the server takes for one request
        assert "(S3 is slow); the next run of the same command sends them" in attempt.told()
        assert "stopped: SIGTERM; a checkpoint at" in attempt.told()
        assert "Traceback" not in attempt.told()
        last = attempt.records()[-1].nimg
    assert newest_intact(project.folder) == last
    server.heal()
    assert_equal_weights(project.finish(), undisturbed)
    assert_backup_is_complete(project)


@pytest.fixture
def small_disk(make_project, mount_disk):
    """A project whose runs lie in a file system of 8 MiB."""
    project = make_project("small")
    mount_disk(project.folder / "runs", "8m")
    return project


@pytest.mark.parametrize(
    ("next_write", "changes"),
    [
        ("checkpoint", {}),
        (
            "snapshot",
            {
                "train": {"snapshot_kimg": 0.2},
                "runtime": {"checkpoint_kimg": 0.2, "status_kimg": 0.2},
            },
        ),
        ("statistics", {"runtime": {"checkpoint_kimg": 0.2, "status_kimg": 0.008}}),
    ],
)
def test_disk_is_full(small_disk, undisturbed, next_write, changes):
    small_disk.configure(**changes)
    disk = small_disk.folder / "runs"
    with Attempt(small_disk) as attempt:
        wait_for(lambda: newest_intact(small_disk.folder))
        with frozen([attempt.process.pid]):
            before = newest_intact(small_disk.folder)
            (disk / "filler").write_bytes(b"x" * shutil.disk_usage(disk).free)
        assert attempt.end() == 2, attempt.told()
        *status, sentence = attempt.told().splitlines()
    assert not [line for line in status if "kimg, " not in line]  # one sentence
    assert sentence.startswith("error: runs/")
    if next_write == "checkpoint":
        assert re.search(r"has no room for checkpoint-\d+\.pt: it needs \d\.\d MB", sentence)
    else:
        assert "has no room left: 0.0 MB are free; free some" in sentence
    assert newest_intact(small_disk.folder) >= before
    (disk / "filler").unlink()
    assert_equal_weights(small_disk.finish(), undisturbed)
