"""The training order: a pure function of the seed and of the count of images drawn so far.

Each epoch is a permutation of the rows that is computed, never stored: a Feistel network (Luby and
Rackoff, 1988) over the smallest domain of 2^(2k) >= num_rows, with cycle walking (Black and
Rogaway, 2002) back into the rows. So any position costs the same, a billion rows cost no memory,
and resuming or slicing by rank needs one integer.
"""

import hashlib

import numpy as np
import numpy.typing as npt

# Eight rounds use the 64 bytes of one blake2b digest; four suffice in theory, but tiny domains,
# whose halves are a few bits, mix slowly.
_NUM_ROUNDS = 8

# Odd multipliers of splitmix64's finaliser (Steele, Lea and Flood, 2014; Stafford's mix 13).
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)


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
    """Where the permutation of [0, count) that `name` stands for takes each index."""
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
