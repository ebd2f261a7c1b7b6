"""An upload is complete or has no manifest, and resumes after an interruption."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.data.shards.streaming import fetch_manifest
from pipeline.data.shards.upload import Uploaded, upload_shards
from pipeline.storage.s3 import S3Folder
from tests.support.remote_folder import PATIENT, remote_folder
from tests.support.s3_server import SECRET, FaultyS3, serve_s3
from tests.support.shard_folder import write_folder

NUM_SHARDS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def remote(server: FaultyS3) -> S3Folder:
    return remote_folder(server, f"bucket-{uuid.uuid4().hex}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "shards", train=[20] * (NUM_SHARDS - 1), heldout=[5])
    return tmp_path / "shards"


def _names(remote: S3Folder) -> list[str]:
    return [item.name for item in remote.list()]


def test_shards_first_and_the_manifest_last(folder, remote, server):
    size = sum(path.stat().st_size for path in folder.glob("*.arrow"))
    done = upload_shards(folder, remote)
    assert done == Uploaded(num_sent=NUM_SHARDS, num_present=0, bytes_sent=size)
    puts = [path for method, path in server.requests if method == "PUT"]
    assert "manifest.json" in puts[-1]
    assert _names(remote) == sorted(path.name for path in folder.iterdir())
    assert fetch_manifest(remote) == read_manifest(folder)
    for path in folder.iterdir():
        assert remote.get(path.name) == path.read_bytes()


def test_a_second_upload_sends_nothing(folder, remote, server):
    upload_shards(folder, remote)
    server.heal()
    done = upload_shards(folder, remote)
    assert done == Uploaded(num_sent=0, num_present=NUM_SHARDS, bytes_sent=0)
    assert server.count("PUT") == 0


def test_an_interrupted_upload_resumes(folder, remote, server):
    server.fail("403 AccessDenied", method="PUT", path="train-00003")
    with pytest.raises(UserError, match="access is denied") as caught:
        upload_shards(folder, remote)
    assert SECRET not in str(caught.value)
    there = _names(remote)
    assert "manifest.json" not in there
    assert "train-00003.arrow" not in there
    server.heal()
    assert upload_shards(folder, remote).num_present == len(there)
    assert "manifest.json" in _names(remote)


@pytest.mark.parametrize(
    "kind", ["500 InternalError", "503 SlowDown", "corrupt upload", "drop", "lose"]
)
def test_transient_errors_are_retried(folder, remote, server, kind):
    server.fail(kind, method="PUT", times=3)
    upload_shards(folder, remote)
    for path in folder.iterdir():
        assert remote.get(path.name) == path.read_bytes()


def test_wrong_objects_are_replaced(folder, remote):
    upload_shards(folder, remote)
    remote.put("train-00001.arrow", b"something else")
    remote.delete("train-00002.arrow")
    assert upload_shards(folder, remote).num_sent == 2
    assert remote.get("train-00001.arrow") == (folder / "train-00001.arrow").read_bytes()


def test_damaged_and_missing_shards_are_not_uploaded(folder, remote):
    path = folder / "train-00002.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"train-00002.arrow is not what its checksum says"):
        upload_shards(folder, remote)
    assert "train-00002.arrow" not in _names(remote)
    assert "manifest.json" not in _names(remote)
    path.unlink()
    with pytest.raises(UserError, match=r"train-00002.arrow is missing"):
        upload_shards(folder, remote)


def test_another_data_set_is_not_overwritten(folder, remote, server, tmp_path):
    upload_shards(folder, remote)
    write_folder(tmp_path / "other", train=[20, 20], seed=1)
    server.heal()
    with pytest.raises(UserError, match=r"holds another data set \('random', digest [0-9a-f]{12}"):
        upload_shards(tmp_path / "other", remote)
    assert server.count("PUT") == 0


def test_missing_bucket(folder, server):
    server.heal()
    with pytest.raises(UserError, match="the bucket does not exist"):
        upload_shards(folder, S3Folder("s3://no-such-bucket/a", PATIENT))
