"""Shards, models and reports go to an S3 remote of DVC's and come back in another clone."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipeline.data.shards.verify import verify_shards
from tests.support.project import ROOT, copy_project
from tests.support.remote_folder import remote_folder
from tests.support.s3_server import SECRET, serve_s3
from tests.support.shard_folder import write_folder

# What the stages leave, but for the shards: DVC does not look into it.
OUTPUTS = {
    "data/reference/statistics.safetensors": b"reference",
    "data/model/generator.safetensors": bytes(range(256)) * 4000,
    "data/model/config.json": b"{}",
    "reports/metrics.json": b'{"fid_dataset_cnn": 1.5}',
    "reports/protocol.json": b"{}",
    "reports/samples/samples.png": b"png",
    "reports/index.html": b"<html></html>",
    "reports/curves.csv": b"kimg\n",
    "reports/figures/classes.png": b"png",
}


def _run(folder: Path, *command: str) -> str:
    # /dev/null, which keeps boto3 from the user's own files, is no file to DVC's client.
    names = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
    empty = str(ROOT / "tests" / "__init__.py")
    environment = {**os.environ, "PYTHONPATH": str(folder), **dict.fromkeys(names, empty)}
    done = subprocess.run(
        command, cwd=folder, env=environment, timeout=300,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def _dvc(folder: Path, *arguments: str) -> str:
    return _run(folder, sys.executable, "-m", "dvc", *arguments)


def _commit(folder: Path) -> None:
    _run(folder, "git", "add", "-A")
    _run(folder, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "data")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose stages have all run, as far as DVC knows."""
    folder = tmp_path / "checkout"
    copy_project(folder)
    write_folder(folder / "data" / "shards", train=[30, 30], heldout=[10])
    for name, content in OUTPUTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    _run(folder, "git", "init", "-q")
    _dvc(folder, "commit", "--force")
    return folder


def test_push_and_pull_in_another_clone(checkout: Path, tmp_path: Path) -> None:
    with serve_s3() as server:
        remote = remote_folder(server, f"bucket-{uuid.uuid4().hex}")
        _dvc(checkout, "remote", "add", "--default", "s3", f"{remote.address}/dvc")
        _dvc(checkout, "remote", "modify", "s3", "endpointurl", server.url)
        _commit(checkout)
        _dvc(checkout, "push")
        assert sum(item.name.startswith("dvc/") for item in remote.list()) > 10

        clone = tmp_path / "clone"
        _run(tmp_path, "git", "clone", "-q", str(checkout), str(clone))
        assert not (clone / "data").exists()
        _dvc(clone, "pull")
        assert "up to date" in _dvc(clone, "status")
    for name, content in OUTPUTS.items():
        assert (clone / name).read_bytes() == content
    assert verify_shards(clone / "data" / "shards").rows == 70
    assert SECRET not in (clone / ".dvc" / "config").read_text()
