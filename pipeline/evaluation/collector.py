"""Gathers what the metrics need of a set of images under one extractor, block by block."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pipeline.core.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.row_store import Float32, RowStore

Extracted = tuple[Float32, Float32]
"""Features [B, d] and logits [B, k]."""

_MOMENTS_ROWS = 1000  # at a time: a d x d matrix is added up for each


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """Moments of all images, and features of those that were kept, in their order."""

    moments: Moments
    """Of all images."""
    features: npt.NDArray[np.float32]
    """[kept, d]."""
    logits: npt.NDArray[np.float32]
    """[kept, k]."""
    labels: npt.NDArray[np.int64] | None
    """[kept]; None where the classes of the images are not known."""


class Collector:
    """One extractor's view of a set of images."""

    def __init__(self, extractor: Extractor, scratch: Path | None = None) -> None:
        """`scratch` is a folder for what is kept, where it may not fit in memory."""
        self._moments = Moments.empty(extractor.feature_dim)
        self._waiting: list[Float32] = []  # for the moments
        self._features, self._logits = (
            RowStore(None if scratch is None else scratch / f"{extractor.name}.{kind}")
            for kind in ("features", "logits")
        )
        self._labels: list[npt.NDArray[np.int64]] = []

    def take(
        self,
        features: Float32,
        logits: Float32,
        labels: npt.NDArray[np.int64],
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds what was extracted, [B, d], [B, k] and [B]; keeps rows `keep` [B], or all."""
        self._waiting.append(features)
        if sum(map(len, self._waiting)) >= _MOMENTS_ROWS:
            self._add_up()
        rows = slice(None) if keep is None else keep
        self._features.add(features[rows])
        self._logits.add(logits[rows])
        self._labels.append(labels[rows])

    def collected(self) -> Collected:
        """All of it; there must have been one image or more. Nothing may be added after it."""
        if self._waiting:
            self._add_up()
        return Collected(
            moments=self._moments,
            features=self._features.close(),
            logits=self._logits.close(),
            labels=np.concatenate(self._labels),
        )

    def _add_up(self) -> None:
        self._moments = self._moments.merged(Moments.of(np.concatenate(self._waiting)))
        self._waiting = []


def extract(
    extractor: Extractor, images: torch.Tensor, name_of: Callable[[int], str] | None = None
) -> Extracted:
    """Features [B, d] and logits [B, k] of images uint8 (B, C, R, R).

    Raises UserError when a value is not finite, calling the first such image `name_of(index)`.
    """
    features, logits = (part.numpy() for part in extractor.extract(images))
    sound = np.isfinite(features).all(axis=1) & np.isfinite(logits).all(axis=1)
    if not sound.all():
        first = int(sound.argmin())
        name = f"image {first}" if name_of is None else name_of(first)
        raise UserError(
            f"{extractor.name} gives features that are not finite for {name}; "
            + (
                "leave that image out"
                if sound.any()
                else f"its weights (SHA-256 {extractor.weights_sha256[:12]}) are damaged"
            )
        )
    return features, logits
