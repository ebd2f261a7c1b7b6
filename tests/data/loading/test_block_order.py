"""Blocks of shards: each epoch a permutation, local to a window, the same however it is asked."""

import numpy as np
import pytest

from pipeline.data.loading.block_order import BlockOrder, GlobalOrder
from pipeline.data.loading.order import rows_at

SHARDS = [[10], [3, 3, 3], [16, 16, 16, 5], [1] * 40, [100, 7, 100, 100, 9, 100, 50]]


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("window", [1, 2, 3, 99])
def test_each_epoch_holds_every_row_once(shards, window):
    order = BlockOrder(7, shards, window)
    num_rows = sum(shards)
    for epoch in (0, 1, 10**6):
        rows = order.rows_at(epoch * num_rows, num_rows)
        assert np.array_equal(np.sort(rows), np.arange(num_rows))


def test_rows_of_a_window_come_from_its_shards_alone():
    shards, window = [50] * 9, 3
    order = BlockOrder(0, shards, window)
    rows = order.rows_at(0, 450).reshape(3, 150)
    visited = order.shards_of_epoch(0).reshape(3, 3)
    for block, own in zip(rows, visited, strict=True):
        assert set(block // 50) == set(own)
        # mixed, not one shard after the other: a run of 50 from one has no chance
        assert len(set(block[:30] // 50)) == 3
    assert set(visited.flatten()) == set(range(9))


def test_any_cut_into_calls_gives_the_same_rows():
    order = BlockOrder(3, SHARDS[4], 2)
    whole = order.rows_at(11, 2000)
    parts = [BlockOrder(3, SHARDS[4], 2).rows_at(11 + a, 40) for a in range(0, 2000, 40)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert [int(order.rows_at(11 + i, 1)[0]) for i in (0, 1999, 7)] == whole[[0, 1999, 7]].tolist()


def test_seeds_and_epochs_give_unrelated_orders():
    shards = [64] * 32
    num_rows = sum(shards)
    orders = [BlockOrder(s, shards, 4).rows_at(e * num_rows, num_rows) for s, e in
              [(0, 0), (0, 1), (1, 0)]]  # fmt: skip
    for i, first in enumerate(orders):
        assert all(np.sum(first == second) < 16 for second in orders[:i])


def test_a_window_of_all_shards_mixes_as_well_as_the_global_order():
    shards = [100] * 100
    rows = BlockOrder(5, shards, 100).rows_at(0, 10_000)
    assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.05
    # Distances between neighbours are those of random pairs: a third of the range on average.
    assert abs(np.abs(np.diff(rows)).mean() / 10_000 - 1 / 3) < 0.01


def test_a_billion_rows_in_a_hundred_thousand_shards():
    order = BlockOrder(0, [10_000] * 100_000, 16)
    rows = order.rows_at(987_654_321, 4096)
    assert len(np.unique(rows)) == 4096
    assert len(np.unique(rows // 10_000)) <= 16


def test_global_order_is_the_keyed_bijection():
    assert np.array_equal(GlobalOrder(3, 1437).rows_at(5, 99), rows_at(3, 5, 99, 1437))


@pytest.mark.parametrize(("shards", "window"), [([], 1), ([3, 0], 1), ([3], 0)])
def test_impossible_blocks_are_refused(shards, window):
    with pytest.raises(ValueError, match="no blocks"):
        BlockOrder(0, shards, window)
