"""A source of images in memory."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.source import Items, Source


@dataclass(frozen=True)
class _ArrayReader:
    images: Sequence[npt.NDArray[np.uint8]]

    def __call__(self, items: Items) -> Iterator[npt.NDArray[np.uint8]]:
        for row in items.where[:, 0].tolist():
            yield self.images[row]


def array_source(
    name: str,
    class_names: Sequence[str],
    keys: Sequence[str],
    images: Sequence[npt.NDArray[np.uint8]],
    labels: Sequence[int] | npt.NDArray[np.integer],
    *,
    origin: Mapping[str, Any],
    preprocessing: Mapping[str, Any],
    is_tiny: bool = False,
) -> Source:
    """N images uint8 [H, W], [H, W, 1] or [H, W, 3], their keys and labels."""
    images = [image[:, :, 0] if image.shape[2:] == (1,) else image for image in images]
    digests = (hashlib.blake2b(i.tobytes(), digest_size=7).digest() for i in images)
    where = [(row, int.from_bytes(digest, "big")) for row, digest in enumerate(digests)]
    return Source(
        name=name,
        class_names=tuple(class_names),
        items=Items(
            keys=list(keys),
            labels=np.asarray(labels, np.int32),
            where=np.array(where, np.int64).reshape(-1, 2),
        ),
        read=_ArrayReader(images),
        origin=origin,
        preprocessing=preprocessing,
        is_tiny=is_tiny,
    )
