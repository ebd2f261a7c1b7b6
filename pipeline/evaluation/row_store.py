"""Rows of numbers that come block by block, kept in memory or in a file."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


class RowStore:
    """float32 rows of one width."""

    def __init__(self, path: Path | None = None) -> None:
        """With `path` they lie in that file, which is overwritten."""
        self._path = path
        self._file: BinaryIO | None = None if path is None else path.open("wb")
        self._parts: list[Float32] = []
        self._shape: tuple[int, int] | None = None

    def add(self, rows: Float32) -> None:
        """Adds rows [B, w]."""
        count = 0 if self._shape is None else self._shape[0]
        self._shape = count + len(rows), rows.shape[1]
        if self._file is None:
            self._parts.append(rows)
        else:
            self._file.write(np.ascontiguousarray(rows, np.float32).data)

    def close(self) -> Float32:
        """All rows [N, w], mapped read-only where they lie in a file; nothing is added after it.

        There must have been an `add` before.
        """
        assert self._shape is not None
        if self._file is None or self._path is None:
            return np.concatenate(self._parts)
        self._file.close()
        if 0 in self._shape:
            return np.empty(self._shape, np.float32)
        return np.memmap(self._path, np.float32, "r", shape=self._shape)
