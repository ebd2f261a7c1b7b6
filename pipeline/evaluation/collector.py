"""Gathers what the metrics need of a set of images under one extractor, batch by batch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import UserError
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.moments import Moments


@dataclass(frozen=True, kw_only=True, slots=True)
class Collected:
    """Moments of all images, and features of those that were kept, in their order."""

    moments: Moments
    """Of all images."""
    features: npt.NDArray[np.float32]
    """[kept, d]."""
    logits: npt.NDArray[np.float32]
    """[kept, k]."""
    labels: npt.NDArray[np.int64]
    """[kept]."""


class Collector:
    """One extractor's view of a set of images."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._moments = Moments.empty(extractor.feature_dim)
        self._features: list[npt.NDArray[np.float32]] = []
        self._logits: list[npt.NDArray[np.float32]] = []
        self._labels: list[npt.NDArray[np.int64]] = []

    def add(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Extracts images uint8 (B, C, R, R), labels int64 (B,); keeps rows `keep` [B], or all.

        Raises UserError when the extractor finds values that are not finite.
        """
        features, logits = (part.numpy() for part in self._extractor.extract(images))
        if not (np.isfinite(features).all() and np.isfinite(logits).all()):
            raise UserError(
                f"{self._extractor.name} gives features that are not finite; its weights "
                f"(SHA-256 {self._extractor.weights_sha256[:12]}) are damaged"
            )
        self._moments = self._moments.merged(Moments.of(features))
        rows = slice(None) if keep is None else keep
        self._features.append(features[rows])
        self._logits.append(logits[rows])
        self._labels.append(labels.numpy()[rows])

    def collected(self) -> Collected:
        """All of it; there must have been one batch or more."""
        return Collected(
            moments=self._moments,
            features=np.concatenate(self._features),
            logits=np.concatenate(self._logits),
            labels=np.concatenate(self._labels),
        )
