"""A hundred thousand shards of ten thousand images each: a billion rows in limited memory.

All shards are one real file: what grows with their number is the manifest, the index and the order.
"""

import dataclasses
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from pipeline.data.loading.batches import Batches
from pipeline.data.loading.order import BlockOrder, GlobalOrder
from pipeline.data.shards.manifest import Manifest, Split, read_manifest, write_manifest
from pipeline.data.shards.reader import Rows
from tests.support.shard_folder import make_manifest, write_folder

NUM_SHARDS, SHARD_ROWS, WINDOW = 100_000, 10_000, 8
SHAPE, NUM_CLASSES = (1, 1, 1), 10

T = TypeVar("T")


class OneFile:
    """The same file for every shard; counts who is asked for."""

    num_threads = 2
    capacity_text = "the test holds 24"

    def __init__(self, path: Path) -> None:
        self.capacity: int | None = 3 * WINDOW
        self.fetched: list[int] = []
        self._path = path

    def fetch(self, index: int) -> Path:
        self.fetched.append(index)
        return self._path

    def release(self, index: int) -> None:
        pass


def _write(folder: Path, num_shards: int) -> Path:
    write_folder(folder, train=[SHARD_ROWS], shape=SHAPE, num_classes=NUM_CLASSES)
    (entry,) = read_manifest(folder).splits["train"].shards
    entries = tuple(
        dataclasses.replace(entry, file=f"train-{index:05}.arrow") for index in range(num_shards)
    )
    num_rows = num_shards * SHARD_ROWS
    counts = (num_rows // NUM_CLASSES,) * NUM_CLASSES
    train = Split(rows=num_rows, class_counts=counts, shards=entries)
    none = Split(rows=0, class_counts=(0,) * NUM_CLASSES, shards=())
    splits = {"train": train, "heldout": none}
    write_manifest(folder, make_manifest(splits, SHAPE, NUM_CLASSES))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("scale"), NUM_SHARDS)


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return read_manifest(folder)


def _memory(call: Callable[[], T]) -> tuple[T, int, int]:
    """The result, the bytes that it keeps and the most that making it took, both of Python's."""
    tracemalloc.start()
    try:
        result = call()
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, kept, peak


def test_the_manifest_is_read_in_a_few_kilobytes_a_shard(tmp_path: Path) -> None:
    # A tenth of them: what traces memory is slow.
    num_shards = NUM_SHARDS // 10
    folder = _write(tmp_path, num_shards)
    assert (folder / "manifest.json").stat().st_size < 230 * num_shards
    manifest, kept, peak = _memory(lambda: read_manifest(folder))
    assert manifest.rows == 10**8
    assert kept < 400 * num_shards
    assert peak < 2500 * num_shards


def test_the_index_takes_bytes_a_shard_and_opens_no_file(folder: Path, manifest: Manifest) -> None:
    files = OneFile(folder / "train-00000.arrow")
    split = manifest.splits["train"]
    rows, kept, peak = _memory(lambda: Rows(files, split, SHAPE, NUM_CLASSES))
    assert len(rows) == 10**9
    assert files.fetched == []
    assert kept < 40 * NUM_SHARDS
    assert peak < 80 * NUM_SHARDS
    indices = np.random.default_rng(0).integers(0, 10**9, 1000)
    assert np.array_equal(rows.shards_of(indices), indices // SHARD_ROWS)


def test_orders_take_no_memory_for_rows() -> None:
    order, kept, _ = _memory(lambda: GlobalOrder(0, 10**9))
    assert kept < 1000
    assert _memory(lambda: order.rows_at(7 * 10**8, 4096))[2] < 10**6 + 4096 * 600
    sizes = (SHARD_ROWS,) * NUM_SHARDS
    block, kept, _ = _memory(lambda: BlockOrder(0, sizes, WINDOW))
    assert kept < 20 * NUM_SHARDS
    _, kept, peak = _memory(lambda: block.rows_at(3 * 10**9 + 5, 4096))
    assert kept < 20 * NUM_SHARDS
    assert peak < 400 * NUM_SHARDS
    visits = block.shards_of_epoch(3)
    assert np.array_equal(np.sort(visits), np.arange(NUM_SHARDS))


def test_training_streams_through_a_billion_rows(folder: Path, manifest: Manifest) -> None:
    files = OneFile(folder / "train-00000.arrow")
    rows = Rows(files, manifest.splits["train"], SHAPE, NUM_CLASSES)
    order = BlockOrder(0, rows.shard_rows, WINDOW)
    start, batch = 12_345_678_912, 256
    with Batches(rows, order, batch, start) as batches:
        for k in range(400):  # 102,400 images: more than a window
            _, labels = batches.next_batch()
            expected = order.rows_at(start + k * batch, batch) % SHARD_ROWS % NUM_CLASSES
            assert np.array_equal(labels.numpy(), expected)
    # The window it started in, the next ones that it reached, and one ahead of them.
    assert 2 * WINDOW < len(files.fetched) <= 5 * WINDOW
    assert len(set(files.fetched)) == len(files.fetched)
