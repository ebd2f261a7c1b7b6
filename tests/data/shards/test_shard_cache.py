"""The cache returns intact copies only, whatever S3, a disk or a signal does."""

import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import ShardEntry, read_manifest
from pipeline.data.shards.shard_cache import ShardCache
from pipeline.data.shards.upload import upload_shards
from pipeline.storage.digest import sha256_file
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_errors import S3DamagedError, S3UnavailableError
from tests.support.project import ROOT
from tests.support.remote_folder import remote_folder
from tests.support.s3_server import SECRET, FaultyS3, serve_s3
from tests.support.shard_folder import write_folder

NUM_SHARDS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def remote(server: FaultyS3, tmp_path: Path) -> S3Folder:
    write_folder(tmp_path / "shards", train=[40] * NUM_SHARDS)
    remote = remote_folder(server, f"bucket-{uuid.uuid4().hex}")
    upload_shards(tmp_path / "shards", remote)
    server.heal()
    return remote


@pytest.fixture
def entries(remote: S3Folder, tmp_path: Path) -> tuple[ShardEntry, ...]:
    return read_manifest(tmp_path / "shards").splits["train"].shards


def _cache(tmp_path: Path, num_shards: float, entries: tuple[ShardEntry, ...]) -> ShardCache:
    return ShardCache(tmp_path / "cache", _bytes_of(num_shards, entries), wait_s=0.2)


def _bytes_of(num_shards: float, entries: tuple[ShardEntry, ...]) -> int:
    return int(num_shards * max(entry.bytes for entry in entries))


def _copies(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"}


def test_a_copy_is_fetched_once(remote, entries, server, tmp_path):
    for _ in range(2):  # a second cache object is what another process has
        cache = _cache(tmp_path, 8, entries)
        for _ in range(2):
            held = cache.hold(entries[0], remote)
            assert sha256_file(held.path) == entries[0].sha256
            held.close()
    assert server.count("GET") == 1
    assert _copies(tmp_path) == {f"{entries[0].sha256}.arrow"}


def test_threads_that_want_the_same_copy_fetch_it_once(remote, entries, server, tmp_path):
    cache = _cache(tmp_path, 8, entries)
    server.fail("delay", method="GET", seconds=0.1)
    threads = [
        threading.Thread(target=lambda: cache.hold(entries[0], remote).close()) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.count("GET") == 1


@pytest.mark.parametrize(
    "kind", ["500 InternalError", "503 SlowDown", "truncate", "corrupt", "drop", "trickle", "delay"]
)
def test_transient_errors_are_retried(remote, entries, server, tmp_path, kind):
    server.fail(kind, method="GET", times=2, seconds=0.01)
    held = _cache(tmp_path, 8, entries).hold(entries[0], remote)
    assert sha256_file(held.path) == entries[0].sha256
    held.close()


@pytest.mark.parametrize(
    ("kind", "error"), [("corrupt", S3DamagedError), ("truncate", S3UnavailableError)]
)
def test_a_bad_copy_never_stays(remote, entries, server, tmp_path, kind, error):
    cache = _cache(tmp_path, 8, entries)
    server.fail(kind, method="GET")
    for _ in range(2):
        with pytest.raises(error, match=f"downloading {remote.address}/train-00000"):
            cache.hold(entries[0], remote)
        assert _copies(tmp_path) == set()
    server.heal()
    held = cache.hold(entries[0], remote)
    assert sha256_file(held.path) == entries[0].sha256
    held.close()


def test_another_object_under_the_name_is_refused(remote, entries, tmp_path):
    remote.put(entries[0].file, b"something else")
    with pytest.raises(S3DamagedError):
        _cache(tmp_path, 8, entries).hold(entries[0], remote)
    remote.delete(entries[0].file)
    with pytest.raises(UserError, match=r"train-00000\.arrow is missing; upload the data set"):
        _cache(tmp_path, 8, entries).hold(entries[0], remote)
    assert _copies(tmp_path) == set()


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
@pytest.mark.parametrize("same_process", [True, False])
def test_a_damaged_copy_is_fetched_again(remote, entries, server, tmp_path, damage, same_process):
    cache = _cache(tmp_path, 8, entries)
    held = cache.hold(entries[0], remote)
    held.close()
    content = bytearray(held.path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 4
    changed = {"cut": content[:-1], "grow": content + b"\0", "empty": b""}.get(damage, content)
    time.sleep(0.01)  # beyond the clock tick of the file system
    with held.path.open("r+b") as file:
        file.write(changed)
        file.truncate()
    held = (cache if same_process else _cache(tmp_path, 8, entries)).hold(entries[0], remote)
    assert sha256_file(held.path) == entries[0].sha256
    held.close()
    assert server.count("GET") == 2


def test_the_least_recently_used_copy_is_evicted(remote, entries, server, tmp_path):
    cache = _cache(tmp_path, 3, entries)
    for index in (0, 1, 2, 0, 3):
        cache.hold(entries[index], remote).close()
        time.sleep(0.005)
    assert _copies(tmp_path) == {f"{entries[index].sha256}.arrow" for index in (0, 2, 3)}


def test_copies_in_use_are_never_evicted(remote, entries, tmp_path):
    cache = _cache(tmp_path, 3, entries)
    held = [cache.hold(entries[index], remote) for index in (0, 1, 2)]
    again = cache.hold(entries[0], remote)
    held[0].close()
    with pytest.raises(UserError, match=r"is full of shards in use; raise runtime.cache_gb"):
        cache.hold(entries[3], remote)
    again.close()
    held.append(cache.hold(entries[3], remote))
    assert _copies(tmp_path) == {f"{entries[index].sha256}.arrow" for index in (1, 2, 3)}
    for copy in held[1:]:
        copy.close()


def test_refused_credentials(remote, entries, server, tmp_path):
    server.fail("403 SignatureDoesNotMatch", method="GET")
    with pytest.raises(UserError, match="AWS_SECRET_ACCESS_KEY") as caught:
        _cache(tmp_path, 8, entries).hold(entries[0], remote)
    assert SECRET not in str(caught.value)
    assert _copies(tmp_path) == set()


def test_an_impossible_cache_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"runtime\.cache_dir"):
        ShardCache(tmp_path / "file" / "cache", 10)


_HOLD = """
import random, sys
from pathlib import Path
from pipeline.data.shards.manifest import read_manifest
from pipeline.data.shards.shard_cache import ShardCache
from pipeline.storage.digest import sha256_file
from pipeline.storage.s3 import S3Folder
from pipeline.storage.s3_client import S3Limits

shards, folder, address, budget, seed, count = sys.argv[1:]
entries = read_manifest(Path(shards)).splits["train"].shards
remote = S3Folder(address, S3Limits(read_s=30, attempts=6))
cache = ShardCache(Path(folder), int(budget))
chance = random.Random(int(seed))
print("ready", flush=True)
held = []
for _ in range(int(count)):
    entry = chance.choice(entries)
    held.append(cache.hold(entry, remote))
    assert sha256_file(held[-1].path) == entry.sha256
    if len(held) == 2:
        held.pop(0).close()
"""


def _start(remote, entries, tmp_path: Path, num_shards: float, seed: int, count: int):
    budget = _bytes_of(num_shards, entries)
    return subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path / "shards", tmp_path / "cache", str(remote.address),
         str(budget), str(seed), str(count)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_processes_share_a_cache_within_its_budget(remote, entries, server, tmp_path):
    server.fail("corrupt", method="GET", times=5)
    budget = _bytes_of(5, entries)
    largest = 0
    with (
        _start(remote, entries, tmp_path, 5, 1, 60) as one,
        _start(remote, entries, tmp_path, 5, 2, 60) as other,
    ):
        while one.poll() is None or other.poll() is None:
            with suppress(FileNotFoundError):  # evicted meanwhile
                copies = (tmp_path / "cache").glob("*.arrow")
                largest = max(largest, sum(path.stat().st_size for path in copies))
            time.sleep(0.001)
    assert (one.returncode, other.returncode) == (0, 0)
    assert entries[0].bytes < largest <= budget
    for path in (tmp_path / "cache").glob("*.arrow"):
        assert sha256_file(path) == path.stem


def test_a_kill_amid_a_download_leaves_no_copy_and_no_lock(remote, entries, server, tmp_path):
    server.fail("trickle", method="GET", seconds=0.3)
    with _start(remote, entries, tmp_path, 2, 0, 1) as process:
        assert process.stdout.readline() == "ready\n"
        while not list((tmp_path / "cache").glob("*.tmp")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    left = _copies(tmp_path)
    assert {Path(name).suffix for name in left} == {".reserved", ".tmp"}
    server.heal()
    cache = _cache(tmp_path, 2, entries)
    held = [cache.hold(entry, remote) for entry in entries[:2]]  # the leftover takes no space
    assert _copies(tmp_path) == {f"{entry.sha256}.arrow" for entry in entries[:2]}
    for copy, entry in zip(held, entries, strict=False):
        assert sha256_file(copy.path) == entry.sha256
        copy.close()
