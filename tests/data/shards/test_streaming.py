"""Rows streamed from S3 equal the folder's, are prefetched, and stay within the budget."""

import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import BlockOrder, GlobalOrder
from pipeline.data.shards.reader import Dataset, open_dataset
from pipeline.data.shards.shard_cache import ShardCache
from pipeline.data.shards.streaming import open_anywhere, open_streamed
from pipeline.data.shards.upload import upload_shards
from pipeline.storage.s3 import S3Folder
from tests.support.remote_folder import remote_folder
from tests.support.s3_server import SECRET, FaultyS3, serve_s3
from tests.support.shard_folder import Written, write_folder

NUM_SHARDS, SHARD_ROWS, WINDOW = 12, 200, 3


@pytest.fixture(scope="module")
def server() -> Iterator[FaultyS3]:
    with serve_s3() as server:
        yield server


@pytest.fixture
def written(tmp_path: Path) -> dict[str, Written]:
    return write_folder(
        tmp_path / "shards", train=[SHARD_ROWS] * NUM_SHARDS, heldout=[SHARD_ROWS, 7]
    )


@pytest.fixture
def remote(server: FaultyS3, written: dict[str, Written], tmp_path: Path) -> S3Folder:
    remote = remote_folder(server, f"bucket-{uuid.uuid4().hex}")
    upload_shards(tmp_path / "shards", remote)
    server.heal()
    return remote


def _open(remote: S3Folder, tmp_path: Path, num_shards: float) -> Dataset:
    size = max(path.stat().st_size for path in (tmp_path / "shards").glob("*.arrow"))
    return open_streamed(remote, ShardCache(tmp_path / "cache", int(num_shards * size), wait_s=5))


def _num_cached(tmp_path: Path) -> int:
    """Shards in the cache: a listing during which one goes and one comes may name both."""
    return min(len(list((tmp_path / "cache").glob("*.arrow"))) for _ in range(3))


def _order() -> BlockOrder:
    return BlockOrder(0, [SHARD_ROWS] * NUM_SHARDS, WINDOW)


def test_rows_are_those_of_the_folder(remote, written, server, tmp_path):
    dataset = _open(remote, tmp_path, 3)
    assert server.count("GET") == 1  # the manifest
    chance = np.random.default_rng(0)
    for name, rows in (("train", dataset.train), ("heldout", dataset.heldout)):
        indices = chance.permutation(len(rows))
        assert np.array_equal(rows.gather(indices), written[name].images[indices])
        assert np.array_equal(rows.labels_of(indices), written[name].labels[indices])
        assert np.array_equal(rows.labels, written[name].labels)
        assert rows.keys(indices[:50]) == [written[name].keys[index] for index in indices[:50]]


@pytest.mark.parametrize("kind", ["", "truncate", "corrupt", "503 SlowDown", "trickle"])
def test_batches_are_those_of_the_folder_within_the_budget(remote, server, tmp_path, kind):
    if kind:
        server.fail(kind, method="GET", path="train", times=3, seconds=0.005)
    budget = 2 * WINDOW + 1
    streamed = _open(remote, tmp_path, budget).train
    local = open_dataset(tmp_path / "shards").train
    largest = 0
    with Batches(streamed, _order(), 16, 800) as got, Batches(local, _order(), 16, 800) as expected:
        for _ in range(2 * NUM_SHARDS * SHARD_ROWS // 16):
            for one, other in zip(got.next_batch(), expected.next_batch(), strict=True):
                assert torch.equal(one, other)
            largest = max(largest, _num_cached(tmp_path))
    assert WINDOW < largest <= budget


def test_the_next_window_is_fetched_while_the_first_is_consumed(remote, server, tmp_path):
    train = _open(remote, tmp_path, NUM_SHARDS + 2).train
    server.heal()
    order = _order()
    with Batches(train, order, 8, 0) as batches:
        batches.next_batch()
        deadline = time.monotonic() + 60
        while server.count("GET", "train") < 2 * WINDOW and time.monotonic() < deadline:
            time.sleep(0.01)
        fetched = {path for method, path in server.requests if method == "GET"}
        expected = order.shards_of_epoch(0)[: 2 * WINDOW]
        assert {path.split("?")[0][-17:] for path in fetched} >= {
            f"train-{shard:05}.arrow" for shard in expected.tolist()
        }
        assert server.count("GET", "train") == 2 * WINDOW


def test_every_shard_is_fetched_once_an_epoch(remote, server, tmp_path):
    train = _open(remote, tmp_path, 2 * WINDOW + 1).train
    server.heal()
    with Batches(train, _order(), 25, 0) as batches:
        for _ in range((NUM_SHARDS - WINDOW) * SHARD_ROWS // 25 - 16):  # those ahead: no 2nd epoch
            batches.next_batch()
    fetched = Counter(path for method, path in server.requests if method == "GET")
    assert set(fetched.values()) == {1}
    assert len(fetched) >= NUM_SHARDS - WINDOW


def test_orders_that_mix_more_than_the_cache_holds_are_refused(remote, tmp_path):
    train = _open(remote, tmp_path, 2).train
    for order in (_order(), GlobalOrder(0, len(train))):
        with pytest.raises(UserError, match=r"order mixes \d+ shards .* holds 2 .*\.cache_gb"):
            Batches(train, order, 8, 0)
    with Batches(train, BlockOrder(0, train.shard_rows, 2), 8, 0) as batches:
        batches.next_batch()
    with pytest.raises(
        UserError, match=r"s3://.* needs space for two shards, but the cache .*runtime.cache_gb"
    ):
        _open(remote, tmp_path, 1.5)


def test_a_global_order_over_a_data_set_that_fits(remote, written, tmp_path):
    train = _open(remote, tmp_path, NUM_SHARDS).train
    order = GlobalOrder(0, len(train))
    with Batches(train, order, 48, 0) as batches:
        for k in range(20):
            rows = order.rows_at(48 * k, 48)
            assert np.array_equal(batches.next_batch()[0].numpy(), written["train"].images[rows])


def test_s3_failing_for_good_reaches_the_consumer(remote, server, tmp_path):
    with Batches(_open(remote, tmp_path, 2 * WINDOW).train, _order(), 8, 0) as batches:
        batches.next_batch()
        server.fail("403 AccessDenied", method="GET|HEAD")
        rest = (batches.next_batch() for _ in range(NUM_SHARDS * SHARD_ROWS // 8))
        with pytest.raises(UserError, match="access is denied") as caught:
            list(rest)
    assert SECRET not in str(caught.value)


def test_closing_waits_for_no_download(remote, server, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.data.loading.batches._CLOSING_S", 0.1)
    monkeypatch.setattr("pipeline.data.shards.open_shards._CLOSING_S", 0.1)
    train = _open(remote, tmp_path, 2 * WINDOW).train
    released, answered = threading.Event(), threading.Event()

    def answer_late() -> None:
        released.wait(60)
        answered.set()

    server.on_request = answer_late
    batches = Batches(train, _order(), 40, 0)
    batches.close()
    assert not answered.is_set()
    released.set()
    server.on_request = lambda: None
    with pytest.raises(RuntimeError, match="closed"):
        batches.next_batch()


def test_addresses_without_an_intact_data_set(remote, server, tmp_path, monkeypatch):
    with pytest.raises(
        UserError, match=r"/nothing holds no data set: .*stages\.shard .*--to s3://"
    ):
        open_streamed(remote.folder("nothing"), ShardCache(tmp_path / "cache", 10**6))
    manifest = bytearray(remote.get("manifest.json"))
    manifest[100] ^= 1
    remote.put("manifest.json", bytes(manifest))
    with pytest.raises(UserError, match=rf"^{remote.address}/manifest\.json is damaged"):
        open_streamed(remote, ShardCache(tmp_path / "cache", 10**6))


def test_open_anywhere_opens_folders_and_buckets(remote, written, tmp_path):
    for place in (str(tmp_path / "shards"), str(remote.address)):
        dataset = open_anywhere(place, tmp_path / "cache", 0.001)
        assert np.array_equal(dataset.heldout.gather(np.arange(207)), written["heldout"].images)
