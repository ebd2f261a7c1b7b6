"""What is noticed about the pixels of a shard while they are in memory."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_CELLS = 8
"""Side of the small grey pictures whose spread tells whether images differ at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Observations of N images, which add up over shards."""

    contents: npt.NDArray[np.uint64]
    """[N], a hash of each image's pixels."""
    num_enlarged: int
    """Originals with a side shorter than the shard's."""
    num_flat: int
    """Images of one colour."""
    cell_sums: npt.NDArray[np.float64]
    """[cells], of the small grey pictures."""
    cell_squares: npt.NDArray[np.float64]
    """[cells], of their squares."""

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "contents": self.contents.astype("<u8").tobytes().hex(),
            "num_enlarged": self.num_enlarged,
            "num_flat": self.num_flat,
            "cell_sums": self.cell_sums.tolist(),
            "cell_squares": self.cell_squares.tolist(),
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Seen":
        """What `plain` gave."""
        return cls(
            contents=np.frombuffer(bytes.fromhex(content["contents"]), "<u8").astype(np.uint64),
            num_enlarged=content["num_enlarged"],
            num_flat=content["num_flat"],
            cell_sums=np.array(content["cell_sums"], np.float64),
            cell_squares=np.array(content["cell_squares"], np.float64),
        )


def observe(images: npt.NDArray[np.uint8], num_enlarged: int) -> Seen:
    """Looks at uint8 [N, R, R, C]."""
    N, R, C = *images.shape[:2], images.shape[3]
    cells = min(_CELLS, R)
    side = R // cells
    sums = np.zeros(cells * cells)
    squares = np.zeros(cells * cells)
    hashes = np.empty(N, np.uint64)
    num_flat = 0
    for index, image in enumerate(images):
        hashes[index] = int.from_bytes(hashlib.sha256(image).digest()[:8], "little")
        inner = image[: side * cells, : side * cells].reshape(cells, side, cells * side * C)
        columns = inner.sum(axis=1, dtype=np.uint32).reshape(cells, cells, side * C)
        grey = columns.sum(axis=2).ravel() / (side * side * C)
        # Only where the small picture is of one colour can the large one be.
        num_flat += bool(np.ptp(grey) == 0 and (image == image[0, 0]).all())
        sums += grey
        squares += grey**2
    return Seen(
        contents=hashes,
        num_enlarged=num_enlarged,
        num_flat=num_flat,
        cell_sums=sums,
        cell_squares=squares,
    )
