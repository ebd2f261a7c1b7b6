"""A process that backs up is killed at each of its requests; the next one completes the backup."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from pipeline.runs.backup import RunBackup
from pipeline.runs.checkpoints import Checkpoints, Retention
from pipeline.storage.s3 import S3Folder
from tests.support.project import ROOT
from tests.support.s3_server import PART, serve_s3

RETENTION = Retention(keep=2, interval_nimg=100)

# Forks a process for each line of its input, so that packages are imported once.
_BACKUP = """
import os, pathlib, sys
from pipeline.storage.s3 import S3Folder
from pipeline.runs.checkpoints import Retention
from pipeline.runs.backup import RunBackup
from tests.support.s3_server import QUICK

folder = S3Folder("s3://a-bucket", QUICK)
for line in sys.stdin:
    address, run_dir = line.split()
    pid = os.fork()
    if pid == 0:
        folder = S3Folder(address, QUICK)
        with RunBackup(pathlib.Path(run_dir), folder, Retention(keep=2, interval_nimg=100)):
            pass
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


@pytest.fixture
def run_with_backup(server):
    """Runs a process with a backup to its end; kills it as its request of that number comes."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _BACKUP],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:

        def run(folder: S3Folder, run_dir, kill_at: int | None = None) -> int:
            num_requests = 0

            def count() -> None:
                nonlocal num_requests
                num_requests += 1
                if num_requests == kill_at:
                    os.kill(pid, signal.SIGKILL)

            parent.stdin.write(f"{folder.address} {run_dir}\n")
            parent.stdin.flush()
            pid = int(parent.stdout.readline())
            server.on_request = count
            code = int(parent.stdout.readline())
            server.on_request = lambda: None
            assert code == (0 if kill_at is None else -signal.SIGKILL)
            return num_requests

        yield run
        parent.stdin.close()


def assert_consistent(folder: S3Folder) -> None:
    """What has a name has all that the name promises."""
    names = {item.name for item in folder.list()}
    for name in names:
        if name.endswith(".sha256"):
            body = folder.get(name.removesuffix(".sha256"))
            assert folder.get(name).split()[0].decode() == hashlib.sha256(body).hexdigest()
    if "latest.json" in names:
        latest = json.loads(folder.get("latest.json"))
        assert latest["checkpoint"] + ".sha256" in names
        body = folder.get(latest["checkpoint"])
        assert hashlib.sha256(body).hexdigest() == latest["sha256"]


def test_killed_at_any_request(server, run_with_backup, tmp_path):
    run = tmp_path / "run"
    (run / "snapshots").mkdir(parents=True)
    (run / "snapshots" / "generator-000000100.safetensors").write_bytes(b"weights")
    (run / "stats.jsonl").write_text('{"nimg": 100}\n')
    with Checkpoints(run / "checkpoints", "k" * 64, 2, 100) as checkpoints:
        checkpoints.save({"nimg": 100, "weight": torch.ones(PART // 4 + 1)})  # two parts
    expected = {
        str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()
    }
    undisturbed = server.folder()
    num_requests = run_with_backup(undisturbed, run)
    assert num_requests > 12
    for kill_at in range(1, num_requests + 1):
        bucket = server.folder()
        run_with_backup(bucket, run, kill_at)
        folder = bucket.folder("run")
        assert_consistent(folder)
        RunBackup(run, bucket, RETENTION).close()
        content = {item.name: folder.get(item.name) for item in folder.list()}
        assert json.loads(content.pop("latest.json"))["nimg"] == 100
        assert content == expected
