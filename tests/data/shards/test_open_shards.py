"""Gathers from any number of threads are correct and hold at most `capacity` shards."""

import random
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.shards.manifest import read_manifest
from pipeline.data.shards.open_shards import OpenShards
from pipeline.data.shards.reader import Rows
from tests.support.shard_folder import Written, write_folder

SIZES = [7, 30, 1, 12, 12, 25, 3, 40, 9, 11]
SHAPE = (4, 4, 3)


class CountingFiles:
    """Shards of a folder of which `capacity` may be held; counts them."""

    num_threads = 3
    capacity_text = "the test holds few"

    def __init__(self, folder: Path, capacity: int | None) -> None:
        self.capacity = capacity
        self._paths = sorted(folder.glob("train-*.arrow"))
        self._lock = threading.Lock()
        self.held: Counter[int] = Counter()
        self.most = 0
        self.num_fetched = 0

    def fetch(self, index: int) -> Path:
        with self._lock:
            self.held[index] += 1
            self.num_fetched += 1
            self.most = max(self.most, self.held.total())
        return self._paths[index]

    def release(self, index: int) -> None:
        with self._lock:
            assert self.held[index] > 0
            self.held[index] -= 1


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return write_folder(tmp_path, train=SIZES)["train"]


def _rows(tmp_path: Path, capacity: int | None) -> tuple[Rows, CountingFiles]:
    files = CountingFiles(tmp_path, capacity)
    return Rows(files, read_manifest(tmp_path).splits["train"], SHAPE, 2), files


@pytest.mark.parametrize("capacity", [1, 2, 3, 10])
def test_gathers_work_at_any_capacity(tmp_path: Path, written: Written, capacity: int) -> None:
    rows, files = _rows(tmp_path, capacity)
    chance = np.random.default_rng(0)
    for _ in range(20):
        indices = chance.integers(0, len(rows), 30)
        assert np.array_equal(rows.gather(indices), written.images[indices])
        assert np.array_equal(rows.labels_of(indices), written.labels[indices])
    assert 1 <= files.most <= capacity
    assert files.held.total() == 1  # the last one: a scan continues with it
    assert np.array_equal(rows.labels, written.labels)


@pytest.mark.parametrize("capacity", [2, 4, 10, None])
def test_threads_share_the_rows(tmp_path: Path, written: Written, capacity: int | None) -> None:
    rows, files = _rows(tmp_path, capacity)
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        try:
            for _ in range(40):
                indices = np.array([chance.randrange(len(rows)) for _ in range(8)])
                if chance.random() < 0.3:
                    rows.prefetch(indices, [chance.randrange(len(SIZES)) for _ in range(3)])
                if chance.random() < 0.1:
                    rows.stop()
                assert np.array_equal(rows.gather(indices), written.images[indices])
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong
    rows.stop()
    if capacity is None:
        assert files.num_fetched == files.held.total() <= len(SIZES)
    else:
        assert files.most <= capacity
        assert files.held.total() <= 1


def test_prefetched_shards_are_open_before_the_gather(tmp_path: Path, written: Written) -> None:
    rows, files = _rows(tmp_path, 4)
    rows.prefetch(np.array([40, 0]), [5, 6])  # of the shards 3 and 0
    deadline = threading.Event()
    for _ in range(1000):
        if files.held.total() == 4:
            break
        deadline.wait(0.005)
    assert {index for index, count in files.held.items() if count} == {0, 3, 5, 6}
    fetched = files.num_fetched
    rows.gather(np.array([40, 0]))
    assert files.num_fetched == fetched
    rows.stop()
    assert files.held.total() == 1


def test_images_of_a_closed_shard_stay_valid(tmp_path: Path, written: Written) -> None:
    shards = OpenShards(
        CountingFiles(tmp_path, 1), read_manifest(tmp_path).splits["train"], SHAPE, 2
    )
    with shards.use([1]) as opened:
        images = opened[1].images
    with shards.use([0]) as opened:
        assert list(opened) == [0]
    (tmp_path / "train-00001.arrow").unlink()
    assert np.array_equal(images, written.images[SIZES[0] : SIZES[0] + SIZES[1]])


def test_a_shard_that_is_damaged_after_the_start_is_named(tmp_path: Path, written: Written) -> None:
    rows, files = _rows(tmp_path, 3)
    path = tmp_path / "train-00001.arrow"
    path.write_bytes(path.read_bytes()[:-40])
    rows.prefetch(np.array([10]))
    with pytest.raises(UserError, match=r"train-00001\.arrow is damaged"):
        rows.gather(np.array([0, 10]))
    assert np.array_equal(rows.gather(np.array([0])), written.images[:1])
    assert files.held.total() == 1
