"""The pixels of many mapped files as one array, so that one call gathers from all of them.

One range of addresses is reserved, and each file is mapped into a slot of it. All slots are a
whole number of rows long and all files hold their pixels at the same place, so any row of any
mapped file is a row of one array over the range. What lies between the pixels is never touched.
"""

import ctypes
import errno
import math
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import UserError

# Python's mmap does not take an address.
_PROT_NONE = 0
_MAP_FIXED = 0x10  # the same on Linux and macOS
_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class MappedImages:
    """Slots for files of at most `max_bytes` that hold images of `shape` [H, W, C].

    Not safe between threads; nobody may read rows of a slot that is being mapped or unmapped.
    """

    def __init__(
        self, num_slots: int, max_bytes: int, shape: tuple[int, int, int], pixels_at: int
    ) -> None:
        """The pixels of every file begin at byte `pixels_at`, or a number of rows beside it."""
        self._row_bytes = math.prod(shape)
        self._pixels_at = pixels_at
        unit = math.lcm(mmap.PAGESIZE, self._row_bytes)
        self._slot_bytes = -(-max_bytes // unit) * unit
        self._range = _Range(num_slots * self._slot_bytes)
        num_rows = (self._range.num_bytes - pixels_at) // self._row_bytes
        self._range.__array_interface__ = {
            "version": 3,
            "data": (self._range.address + pixels_at, True),
            "shape": (num_rows, *shape),
            "typestr": "|u1",
        }
        self.array: npt.NDArray[np.uint8] = np.asarray(self._range)
        """[rows of all slots, H, W, C], read-only; rows outside of mapped pixels crash."""
        self.slot_rows = self._slot_bytes // self._row_bytes
        """Rows of the array from one slot to the next."""

    def map(self, slot: int, path: Path, num_bytes: int, pixels_at: int) -> int:
        """Maps the file; returns the array's row of its first image.

        Raises ValueError where its pixels do not fall on rows, and OSError.
        """
        shift, rest = divmod(pixels_at - self._pixels_at, self._row_bytes)
        if rest or shift < 0:
            raise ValueError(f"its pixels begin at byte {pixels_at}, not {self._pixels_at}")
        descriptor = os.open(path, os.O_RDONLY)
        try:
            # Mapped pages beyond the end of a file that is too short would kill the process.
            if os.fstat(descriptor).st_size < num_bytes:
                raise ValueError(f"it has less than {num_bytes} bytes")
            self._range.replace(slot * self._slot_bytes, num_bytes, descriptor)
        finally:
            os.close(descriptor)
        return slot * self.slot_rows + shift

    def unmap(self, slot: int) -> None:
        """Frees the slot; its rows crash from now on."""
        self._range.replace(slot * self._slot_bytes, self._slot_bytes, None)


class _Range:
    """Reserved addresses, freed when neither this nor the array over them is left."""

    __array_interface__: dict[str, Any]

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANON
        address = _libc.mmap(None, num_bytes, _PROT_NONE, flags, -1, 0)
        if address == _FAILED:
            raise UserError(
                f"{num_bytes / 1e9:.1f} GB of addresses for the shards are refused "
                f"({os.strerror(ctypes.get_errno())}); lift the limit with `ulimit -v unlimited`"
            )
        self.address: int = address
        # Left alone at exit: daemon threads may still read.
        weakref.finalize(self, _libc.munmap, address, num_bytes).atexit = False

    def replace(self, start: int, num_bytes: int, descriptor: int | None) -> None:
        """Maps a file, or nothing, at `start`."""
        if descriptor is None:
            access, flags, descriptor = _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANON, -1
        else:
            access, flags = mmap.PROT_READ, mmap.MAP_SHARED
        address = self.address + start
        if _libc.mmap(address, num_bytes, access, flags | _MAP_FIXED, descriptor, 0) == _FAILED:
            number = ctypes.get_errno()
            hint = "; raise vm.max_map_count" if number == errno.ENOMEM else ""
            raise OSError(number, os.strerror(number) + hint)
