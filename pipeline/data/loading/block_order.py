"""Orders of training behind one interface: over all rows, or in blocks of shards.

A block order visits the shards of an epoch in a random order and mixes the rows of a window of
them, so that only the window need be at hand: what shards that stream from afar want. Like the
global order it is a pure function of seed and position; it remembers nothing but the epoch's
permutation of the shards.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.data.loading.order import permuted, rows_at


class Order(Protocol):
    """Which row stands at which position."""

    def rows_at(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """Rows of positions [start, start + count), int64 [count]."""


class GlobalOrder:
    """Every epoch a permutation of all rows."""

    def __init__(self, seed: int, num_rows: int) -> None:
        self._seed = seed
        self._num_rows = num_rows

    def rows_at(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """See `Order`."""
        return rows_at(self._seed, start, count, self._num_rows)


class BlockOrder:
    """Every epoch the shards in a random order, rows mixed within windows of some shards."""

    def __init__(self, seed: int, shard_rows: Sequence[int], window: int) -> None:
        """`shard_rows` holds each shard's number of rows, `window` shards are mixed at a time."""
        if window < 1 or not shard_rows or min(shard_rows) < 1:
            raise ValueError(f"no blocks of {window} shards among {len(shard_rows)}")
        self._seed = seed
        self._window = window
        self._sizes = np.asarray(shard_rows, np.int64)
        self._firsts = np.concatenate([[0], np.cumsum(self._sizes)])  # first row of each shard
        self._num_rows = int(self._firsts[-1])
        self._epoch = -1
        self._shards = np.empty(0, np.int64)
        self._starts = np.empty(0, np.int64)

    def rows_at(self, start: int, count: int) -> npt.NDArray[np.int64]:
        """See `Order`."""
        rows = np.empty(count, np.int64)
        done = 0
        while done < count:
            epoch, first = divmod(start + done, self._num_rows)
            taken = self._within_window(epoch, first, count - done)
            rows[done : done + len(taken)] = taken
            done += len(taken)
        return rows

    def shards_of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        """The shards in the order of their visit: what to fetch ahead of the reader."""
        self._enter(epoch)
        return self._shards

    def _within_window(self, epoch: int, first: int, most: int) -> npt.NDArray[np.int64]:
        """Rows from place `first` of the epoch to the end of its window, at most `most`."""
        self._enter(epoch)
        visit = int(np.searchsorted(self._starts, first, side="right")) - 1
        window = visit // self._window
        begin = self._starts[window * self._window]
        end = self._starts[min((window + 1) * self._window, len(self._shards))]
        places = np.arange(first, min(first + most, end)) - begin
        name = f"{self._seed}/{epoch}/window/{window}"
        mixed = permuted(name, places, int(end - begin)) + begin
        visits = np.searchsorted(self._starts, mixed, side="right") - 1
        return self._firsts[self._shards[visits]] + mixed - self._starts[visits]

    def _enter(self, epoch: int) -> None:
        if epoch == self._epoch:
            return
        count = len(self._sizes)
        shards = permuted(f"{self._seed}/{epoch}/shards", np.arange(count), count)
        self._starts = np.concatenate([[0], np.cumsum(self._sizes[shards])])
        self._shards, self._epoch = shards, epoch


def make_order(
    kind: Literal["global", "block"], seed: int, shard_rows: Sequence[int], window: int
) -> Order:
    """The order of that kind; `window` counts for block alone."""
    if kind == "block":
        return BlockOrder(seed, shard_rows, window)
    return GlobalOrder(seed, sum(shard_rows))
