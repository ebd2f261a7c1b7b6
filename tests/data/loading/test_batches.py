"""Batches are the order's positions, however they are prefetched, resumed or sliced."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import GlobalOrder, rows_at
from pipeline.data.shards.reader import Rows, open_dataset
from tests.support.shard_folder import write_folder


@pytest.fixture(params=[[9, 9, 9, 9, 9, 5], [50]], ids=["many shards", "one shard"])
def rows(tmp_path: Path, request: pytest.FixtureRequest) -> Rows:
    write_folder(tmp_path, train=request.param, num_classes=3)
    return open_dataset(tmp_path).train


def _take(
    rows: Rows, count: int, batch: int, start: int, rank: int = 0, world_size: int = 1
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = GlobalOrder(3, len(rows))
    with Batches(rows, order, batch, start, rank=rank, world_size=world_size) as batches:
        return [_copy(batches.next_batch()) for _ in range(count)]


def _copy(batch: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = batch
    return images.clone(), labels.clone()


def test_batch_k_holds_its_positions(rows: Rows) -> None:
    for k, (images, labels) in enumerate(_take(rows, 200, 16, 10**9)):
        expected = rows_at(3, 10**9 + k * 16, 16, len(rows))
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert np.array_equal(images.numpy(), rows.gather(expected))
        assert np.array_equal(labels.numpy(), rows.labels[expected])


def test_an_epoch_holds_every_image_once(rows: Rows) -> None:
    images = torch.cat([images for images, _ in _take(rows, 5, 10, 0)])
    everything = rows.gather(np.arange(50)).reshape(50, -1)
    assert sorted(map(bytes, images.numpy().reshape(50, -1))) == sorted(map(bytes, everything))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_slice_the_same_global_batch(rows: Rows, world_size: int) -> None:
    whole = _take(rows, 20, 64, 128)
    parts = [_take(rows, 20, 64, 128, rank, world_size) for rank in range(world_size)]
    for k, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([part[k][0] for part in parts]), images)
        assert torch.equal(torch.cat([part[k][1] for part in parts]), labels)


@pytest.mark.parametrize("done", [1, 3, 7, 299])
def test_a_resumed_job_continues_at_its_position(rows: Rows, done: int) -> None:
    whole = _take(rows, done + 3, 16, 0)
    resumed = _take(rows, 3, 16, done * 16)
    for (images, labels), (expected, expected_labels) in zip(resumed, whole[done:], strict=True):
        assert torch.equal(images, expected)
        assert torch.equal(labels, expected_labels)


def test_a_batch_may_be_larger_than_the_data_set_and_than_the_block(rows: Rows) -> None:
    for batch in (120, 5000):
        ((images, _),) = _take(rows, 1, batch, 30)
        assert np.array_equal(images.numpy(), rows.gather(rows_at(3, 30, batch, 50)))


def test_a_batch_is_valid_until_the_next_call(rows: Rows) -> None:
    order = GlobalOrder(0, len(rows))
    with Batches(rows, order, 8, 0) as batches:
        for k in range(10):
            images, labels = batches.next_batch()
            deadline = time.monotonic() + 60
            while batches._ready.qsize() < 2 and time.monotonic() < deadline:
                time.sleep(0.001)  # until the thread has filled the rest of the ring
            expected = order.rows_at(8 * k, 8)
            assert np.array_equal(images.numpy(), rows.gather(expected))
            assert np.array_equal(labels.numpy(), rows.labels_of(expected))


def _start_many(rows: Rows) -> None:
    for _ in range(50):
        Batches(rows, GlobalOrder(0, len(rows)), 8, 0).close()


def _read_then_close(rows: Rows) -> None:
    batches = Batches(rows, GlobalOrder(0, len(rows)), 8, 0)
    batches.next_batch()
    batches.close()
    batches.close()
    with pytest.raises(RuntimeError, match="closed"):
        batches.next_batch()


@pytest.mark.parametrize("use", [_start_many, _read_then_close])
def test_close_ends_the_thread(rows: Rows, use: Callable[[Rows], None]) -> None:
    before = threading.active_count()
    use(rows)
    assert threading.active_count() == before


def test_the_threads_exception_reaches_the_consumer(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    gather = rows.gather
    third = rows_at(0, 16, 8, len(rows))

    def fail_at_third(indices: np.ndarray, *out: np.ndarray) -> np.ndarray:
        if np.array_equal(indices, third):
            raise OSError("the disk is gone")
        return gather(indices, *out)

    monkeypatch.setattr(rows, "gather", fail_at_third)
    with Batches(rows, GlobalOrder(0, len(rows)), 8, 0) as batches:
        for _ in range(2):
            batches.next_batch()
        for _ in range(2):
            with pytest.raises(OSError, match="the disk is gone"):
                batches.next_batch()


def test_close_frees_a_consumer_on_another_thread(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    monkeypatch.setattr(rows, "gather", lambda *_, **__: released.wait(60))
    monkeypatch.setattr("pipeline.data.loading.batches._CLOSING_S", 0.05)
    batches = Batches(rows, GlobalOrder(0, len(rows)), 8, 0)
    caught: list[BaseException] = []

    def consume() -> None:
        try:
            batches.next_batch()
        except RuntimeError as error:
            caught.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    batches.close()
    consumer.join(60)
    released.set()
    batches.close()
    assert "closed" in str(caught[0])


def test_impossible_slices_are_refused(rows: Rows, tmp_path: Path) -> None:
    for batch, rank, world_size in [(8, 0, 3), (0, 0, 1), (8, 2, 2), (8, -1, 2)]:
        with pytest.raises(ValueError, match="cannot be cut"):
            Batches(rows, GlobalOrder(0, len(rows)), batch, 0, rank=rank, world_size=world_size)
    with pytest.raises(ValueError, match="no rows"):
        Batches(open_dataset(tmp_path).heldout, GlobalOrder(0, 1), 8, 0)


def test_the_ring_has_three_buffers(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    gather, outs = rows.gather, []

    def record(indices: np.ndarray, *out: np.ndarray) -> np.ndarray:
        outs.append(out[0].ctypes.data)
        return gather(indices, *out)

    monkeypatch.setattr(rows, "gather", record)
    with Batches(rows, GlobalOrder(0, len(rows)), 8, 0) as batches:
        for k in range(200):
            batches.next_batch()
            assert len(outs) <= k + 3
    assert len(set(outs)) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_pinned_buffers_are_not_overwritten_before_they_are_copied(rows: Rows) -> None:
    order = GlobalOrder(0, len(rows))
    on_device = []
    matrix = torch.ones(8192, 8192, device="cuda")
    with Batches(rows, order, 8, 0, pin_memory=True) as batches:
        for _ in range(50):
            images, labels = batches.next_batch()
            assert images.is_pinned()
            assert labels.is_pinned()
            torch.mm(matrix, matrix)  # the copy waits for it on the device
            on_device.append(images.to("cuda", non_blocking=True))
    expected = rows.gather(order.rows_at(0, 400))
    assert np.array_equal(torch.cat(on_device).cpu().numpy(), expected)
