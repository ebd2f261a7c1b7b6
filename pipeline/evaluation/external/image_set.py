"""Images of any origin as batches of one size and mode, and the digest that names them."""

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.data.ingest.data_checks import Rejected
from pipeline.data.ingest.preprocessing import (
    PILLOW_MODE,
    Preprocessing,
    UndecodableError,
    decode,
    pillow_warnings,
)
from pipeline.data.shards.manifest import Manifest
from pipeline.data.sources.source import Unreadable
from pipeline.evaluation.external.origin import Found, Label, Origin
from pipeline.evaluation.external.survey import Survey, check_usable

BATCH = 100
_MAX_SIZES = 10
"""That a protocol names."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some of the images."""

    images: torch.Tensor
    """uint8 (B, C, R, R)."""
    labels: tuple[Label, ...]
    """As they came."""
    keys: tuple[str, ...]


class ImageSet:
    """All images of an origin under one preprocessing."""

    def __init__(self, origin: Origin, seen: Survey, preprocessing: Preprocessing) -> None:
        self.origin = origin
        self.seen = seen
        self._preprocessing = preprocessing
        self._digests: list[bytes] = []
        self._rejected = list(seen.rejected)

    def batches(self) -> Iterator[Batch]:
        """The images, once, in the origin's order.

        Raises UserError at the end where too many turned out to be damaged inside.
        """
        skipped = {rejected.key for rejected in self.seen.rejected}
        usable = (found for found in self.origin.read() if found.key not in skipped)
        with pillow_warnings(), ThreadPoolExecutor() as pool:
            while chunk := list(islice(usable, BATCH)):
                squares = list(pool.map(self._decode, chunk))
                kept = [(f, s) for f, s in zip(chunk, squares, strict=True) if s is not None]
                if kept:
                    founds, images = zip(*kept, strict=True)
                    self._digests += [hashlib.sha256(image).digest() for image in images]
                    yield Batch(
                        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2),
                        tuple(found.label for found in founds),
                        tuple(found.key for found in founds),
                    )
        check_usable(self.origin.path, self._rejected, len(self._digests))

    def _decode(self, found: Found) -> npt.NDArray[np.uint8] | None:
        try:
            if isinstance(found.raw, Unreadable):
                raise UndecodableError(found.raw.reason)
            square, _ = decode(found.raw, self._preprocessing, found.key)
            return np.ascontiguousarray(square)
        except UndecodableError as error:
            self._rejected.append(Rejected(key=found.key, reason=str(error)))
            return None

    def describe(self) -> Mapping[str, Any]:
        """For the protocol, once all batches were taken.

        The digest is one of the pixels that were scored, whatever their order and container.
        """
        R, C = self._preprocessing.resolution, self._preprocessing.channels
        content = hashlib.sha256(f"{R}x{R}x{C}".encode())
        for digest in sorted(self._digests):
            content.update(digest)
        is_resized = set(self.seen.sizes) != {(R, R)}
        return {
            "path": self.origin.path,
            "layout": self.origin.layout,
            "count": len(self._digests),
            "rejected": len(self._rejected),
            "digest": content.hexdigest(),
            "size": f"{R}x{R}",
            "mode": PILLOW_MODE[C],
            "sizes_found": _largest(self.seen.sizes) if is_resized else None,
            "modes_found": dict(self.seen.modes),
            "preparation": self._preprocessing.describe() if is_resized else "none but the mode's",
        }

    @property
    def digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each image's pixels, in the order of the batches that were taken."""
        return tuple(self._digests)

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """What could not be used, in the order of the keys."""
        return tuple(sorted(self._rejected, key=lambda rejected: rejected.key))


def _largest(sizes: Mapping[tuple[int, int], int]) -> dict[str, int]:
    """The most frequent sizes by name, and how many images have any other."""
    named = {f"{w}x{h}": count for (w, h), count in islice(sizes.items(), _MAX_SIZES)}
    others = sum(sizes.values()) - sum(named.values())
    return named | ({"others": others} if others else {})


def preprocessing_of(manifest: Manifest, resolution: int) -> Preprocessing:
    """The preprocessing of a data set's images; the default where the manifest has none."""
    said = manifest.preprocessing
    over = str(said.get("transparency", "")).removeprefix("over ") or "white"
    for resize in ("bicubic", "lanczos", "box"):
        for crop in ("center", "long-edge"):
            preprocessing = Preprocessing(
                resolution=resolution,
                channels=manifest.channels,
                resize=resize,
                crop=crop,
                background=over,
            )
            if all(said.get(key) == value for key, value in preprocessing.describe().items()):
                return preprocessing
    return Preprocessing(resolution=resolution, channels=manifest.channels)
