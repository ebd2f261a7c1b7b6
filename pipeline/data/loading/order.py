"""The training order: a pure function of the seed and of the count of images drawn so far.

Each epoch is a permutation that is computed, never stored: a Feistel network (Luby and Rackoff,
1988) over the smallest domain of 2^(2k) >= num_rows, with cycle walking (Black and Rogaway, 2002)
back into the rows. So any position costs the same, a billion rows cost no memory, and resuming or
slicing by rank needs one integer.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

# Eight rounds use the 64 bytes of one blake2b digest; four suffice in theory, but tiny domains,
# whose halves are a few bits, mix slowly.
_NUM_ROUNDS = 8

# Odd multipliers of splitmix64's finaliser (Steele, Lea and Flood, 2014; Stafford's mix 13).
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


class Order(Protocol):
    """A map from positions to rows."""

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
    """Every epoch the shards in a random order, rows mixed within windows of `window` shards.

    Only the shards of one window are read at a time, which suits shards that stream from S3. The
    permutation of one epoch's shards is kept.
    """

    def __init__(self, seed: int, shard_rows: Sequence[int], window: int) -> None:
        """`shard_rows` holds the number of rows of each shard."""
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
        """The shards in the order of their visit."""
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
    """The order of that kind; `window` applies to block alone."""
    if kind == "block":
        return BlockOrder(seed, shard_rows, window)
    return GlobalOrder(seed, sum(shard_rows))


def rows_at(seed: int, start: int, count: int, num_rows: int) -> npt.NDArray[np.int64]:
    """Rows of positions [start, start + count), int64 [count], each in [0, num_rows).

    Position p is entry p % num_rows of the permutation of epoch p // num_rows. The same on every
    platform and for every way of cutting positions into calls.
    """
    if num_rows < 1 or start < 0 or count < 0 or start + count > np.iinfo(np.int64).max:
        raise ValueError(f"no rows at start {start}, count {count} of {num_rows} rows")
    if count == 0:
        return np.empty(0, np.int64)
    first_epoch, last_epoch = start // num_rows, (start + count - 1) // num_rows
    positions = np.arange(start, start + count, dtype=np.int64)
    epochs = positions // num_rows
    epoch_keys = [_round_keys(f"{seed}/{e}") for e in range(first_epoch, last_epoch + 1)]
    keys = np.stack(epoch_keys, axis=1)[:, epochs - first_epoch]  # [rounds, count]
    return _walk(positions - epochs * num_rows, keys, num_rows)


def permuted(name: str, indices: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Images of the indices under the permutation of [0, count) that `name` selects."""
    keys = np.repeat(_round_keys(name)[:, None], len(indices), axis=1)  # [rounds, indices]
    return _walk(indices, keys, count)


def _walk(
    indices: npt.NDArray[np.int64], keys: npt.NDArray[np.uint64], count: int
) -> npt.NDArray[np.int64]:
    half_bits = np.uint64(max(1, -(-(count - 1).bit_length() // 2)))
    values = _permute(indices.astype(np.uint64), keys, half_bits)
    outside = np.flatnonzero(values >= count)
    while len(outside):
        values[outside] = _permute(values[outside], keys[:, outside], half_bits)
        outside = outside[values[outside] >= count]
    return values.astype(np.int64)


def _permute(
    values: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], half_bits: np.uint64
) -> npt.NDArray[np.uint64]:
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half_bits) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * _MULTIPLIER_1
    values = (values ^ (values >> np.uint64(27))) * _MULTIPLIER_2
    return values ^ (values >> np.uint64(31))


def _round_keys(name: str) -> npt.NDArray[np.uint64]:
    digest = hashlib.blake2b(name.encode(), digest_size=64, person=b"sagan-order")
    return np.frombuffer(digest.digest(), "<u8", _NUM_ROUNDS).astype(np.uint64)
