"""Features of a set of images under one extractor: gathered batch by batch, and scored by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metric_results import Protocol
from pipeline.evaluation.metrics.moments import Moments

Float32 = npt.NDArray[np.float32]

_MOMENTS_ROWS = 1000  # at a time: a d x d matrix is added up for each


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureStatistics:
    """Moments of all images, and the features of those that are kept, in their order."""

    moments: Moments
    """Of all images."""
    features: Float32
    """[kept, d]."""
    logits: Float32
    """[kept, k]."""
    labels: npt.NDArray[np.int64] | None
    """[kept]; None where the classes of the images are not known."""

    def take(self, rows: slice | npt.NDArray[np.int64]) -> Self:
        """Of these kept rows alone."""
        features = self.features[rows]
        return type(self)(
            moments=Moments.of(features),
            features=features,
            logits=self.logits[rows],
            labels=None if self.labels is None else self.labels[rows],
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FeatureSet:
    """Images that a metric scores: generated ones, or real ones scored as if generated."""

    statistics: FeatureStatistics
    """Under one extractor; all features are kept."""
    key: Callable[[str], str]
    """Full key of a metric by its stem (`fid`, `kid_mean`, ...)."""
    entry: Protocol
    """Protocol of extractor and images."""
    resampled: str = "the generated images"
    """What the bootstrap resamples, for the protocol."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.statistics.moments.count

    def with_entry(self, **changes: Any) -> Self:
        """The same images with changed protocol entries."""
        return replace(self, entry={**self.entry, **changes})


class FeatureAccumulator:
    """Computes the statistics of a set of images under one extractor, batch by batch."""

    def __init__(self, name: str, feature_dim: int, scratch: Path | None = None) -> None:
        """Kept rows go to files in the folder `scratch`, named by `name`, or to memory."""
        self._moments = Moments.empty(feature_dim)
        self._pending: list[Float32] = []  # for the moments
        self._features, self._logits = (
            _Rows(None if scratch is None else scratch / f"{name}.{kind}")
            for kind in ("features", "logits")
        )
        self._labels: list[npt.NDArray[np.int64]] = []

    def add(
        self,
        features: Float32,
        logits: Float32,
        labels: npt.NDArray[np.int64],
        keep: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Adds [B, d], [B, k] and [B]; keeps rows `keep` [B], or all."""
        self._pending.append(features)
        if sum(map(len, self._pending)) >= _MOMENTS_ROWS:
            self._merge_pending()
        rows = slice(None) if keep is None else keep
        self._features.add(features[rows])
        self._logits.add(logits[rows])
        self._labels.append(labels[rows])

    def statistics(self) -> FeatureStatistics:
        """Of all images, one or more; nothing may be added afterwards."""
        if self._pending:
            self._merge_pending()
        return FeatureStatistics(
            moments=self._moments,
            features=self._features.close(),
            logits=self._logits.close(),
            labels=np.concatenate(self._labels),
        )

    def _merge_pending(self) -> None:
        self._moments = self._moments.merged(Moments.of(np.concatenate(self._pending)))
        self._pending = []


class _Rows:
    """float32 rows of one width, in memory or in a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None if path is None else path.open("wb")
        self._parts: list[Float32] = []
        self._shape: tuple[int, int] | None = None

    def add(self, rows: Float32) -> None:
        count = 0 if self._shape is None else self._shape[0]
        self._shape = count + len(rows), rows.shape[1]
        if self._file is None:
            self._parts.append(rows)
        else:
            self._file.write(np.ascontiguousarray(rows, np.float32).data)

    def close(self) -> Float32:
        """All rows [N, w], mapped read-only where they lie in a file."""
        assert self._shape is not None
        if self._file is None or self._path is None:
            return np.concatenate(self._parts)
        self._file.close()
        if 0 in self._shape:
            return np.empty(self._shape, np.float32)
        return np.memmap(self._path, np.float32, "r", shape=self._shape)
