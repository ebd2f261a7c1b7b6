"""Files in and out of a real S3 server, on days when all is well."""

import hashlib
import subprocess
import sys
import threading
import time
import uuid

import pytest

from pipeline.storage.s3 import S3Folder, S3Object
from pipeline.storage.s3_errors import S3DamagedError
from tests.support.remote_folder import PATIENT, remote_folder
from tests.support.s3_server import PART, serve_s3


@pytest.fixture(scope="module")
def server():
    with serve_s3() as server:
        yield server


@pytest.fixture
def folder(server):
    return remote_folder(server, f"bucket-{uuid.uuid4().hex}")


def content(size: int) -> bytes:
    return hashlib.shake_128(b"seed").digest(size)


def test_small_objects(folder):
    folder.put("x/y.json", b"{}")
    folder.put("x/y.json", b"{1}")
    folder.put("x/empty", b"")
    assert folder.get("x/y.json") == b"{1}"
    assert folder.get("x/empty") == b""
    assert folder.head("x/y.json") == S3Object("x/y.json", 3, hashlib.sha256(b"{1}").hexdigest())
    assert folder.head("x") is None
    assert list(folder.list()) == [S3Object("x/empty", 0), S3Object("x/y.json", 3)]
    assert list(folder.folder("x").list("y")) == [S3Object("y.json", 3)]
    folder.delete("x/empty")
    folder.delete("x/empty")
    assert [item.name for item in folder.list()] == ["x/y.json"]
    with pytest.raises(FileNotFoundError, match=r"reading s3://.*/a/b/nope: there is no such"):
        folder.get("nope")


def test_a_prefix_ends_at_a_slash(folder):
    bucket = S3Folder(f"s3://{folder.address.bucket}", PATIENT)
    bucket.put("a/bc/x", b"1")
    assert list(folder.list()) == []
    assert [item.name for item in bucket.list("a/b")] == ["a/bc/x"]


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART + 5])
def test_files_come_back_equal(folder, server, tmp_path, size):
    source, target = tmp_path / "source", tmp_path / "new" / "target"
    source.write_bytes(content(size))
    digest = hashlib.sha256(content(size)).hexdigest()
    assert folder.upload(source, "file")
    assert server.count("PUT", "partNumber") == (0 if size <= PART else -(-size // PART))
    assert folder.head("file") == S3Object("file", size, digest)
    folder.download("file", target, digest)
    assert target.read_bytes() == content(size)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("parallel", [True, False])
def test_parts_are_transferred_in_parallel(folder, server, tmp_path, parallel):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(content(4 * PART))
    for transfer in (
        lambda: folder.upload(source, "file", parallel=parallel),
        lambda: folder.download("file", target, parallel=parallel),
    ):
        server.heal()
        server.fail("delay", seconds=1.0 if parallel else 0.01, method="PUT|GET")
        transfer()
        assert server.most_at_once >= 3 if parallel else server.most_at_once == 1
    assert target.read_bytes() == source.read_bytes()


def test_what_is_there_already_is_not_sent_again(folder, server, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = hashlib.sha256(b"abc").hexdigest()
    assert folder.upload(path, "file")
    assert not folder.upload(path, "file")
    assert not folder.upload(path, "file", digest)
    assert server.count("PUT") == 1
    path.write_bytes(b"abd")
    assert folder.upload(path, "file")
    assert folder.get("file") == b"abd"


@pytest.mark.parametrize("size", [1000, PART + 1])
def test_a_file_that_breaks_its_promise_is_not_uploaded(folder, server, tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(content(size))
    with pytest.raises(
        S3DamagedError, match=r"uploading s3://.*/file: .* is not what its checksum"
    ):
        folder.upload(path, "file", "0" * 64)
    assert list(folder.list()) == []
    client = server.client
    assert "Uploads" not in client.list_multipart_uploads(Bucket=folder.address.bucket)


def test_foreign_objects_have_no_checksum_but_a_length(folder, server, tmp_path):
    client = server.client
    client.put_object(Bucket=folder.address.bucket, Key=folder.address.key("foreign"), Body=b"abc")
    folder.download("foreign", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"abc"
    assert folder.get("foreign") == b"abc"
    with pytest.raises(S3DamagedError):
        folder.download("foreign", tmp_path / "other", "0" * 64)
    assert not (tmp_path / "other").exists()


def test_another_object_than_promised_is_refused_without_reading_it(folder, server, tmp_path):
    folder.put("file", b"abc")
    with pytest.raises(S3DamagedError, match="another than its checksum"):
        folder.download("file", tmp_path / "file", "0" * 64)
    assert server.count("GET") == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError):
        folder.download("nope", tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_lists_more_than_one_page_and_threads_share_a_client(folder, server, monkeypatch):
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")  # a page; S3's are of 1000

    def put(first: int) -> None:
        for number in range(first, 101, 4):
            folder.put(f"n/{number:03d}", b"")

    threads = [threading.Thread(target=put, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.name for item in folder.list("n/")] == [f"n/{n:03d}" for n in range(101)]
    assert server.count("GET") == 11


_DOWNLOAD = """
import sys, threading
from pathlib import Path
from pipeline.storage.s3 import S3Folder

folder, path = S3Folder(sys.argv[1]), Path(sys.argv[2])
threading.Thread(target=folder.download, args=("file", path, None, False), daemon=True).start()
sys.stdin.read()
"""


def test_a_download_on_a_daemon_thread_does_not_delay_the_end_of_its_process(
    folder, server, tmp_path
):
    folder.put("file", b"abc")
    server.fail("delay", seconds=30, method="GET")
    with subprocess.Popen(
        [sys.executable, "-c", _DOWNLOAD, str(folder.address), str(tmp_path / "file")],
        stdin=subprocess.PIPE,
    ) as process:
        while not server.count("GET") and process.poll() is None:
            time.sleep(0.01)
        process.communicate(timeout=20)
    assert process.returncode == 0
