"""Reference statistics: what generated images are compared with, under one extractor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.data.loading.order import rows_at
from pipeline.evaluation.extractors.extractor import Extractor, metric_key
from pipeline.evaluation.features import FeatureStatistics
from pipeline.evaluation.metric_results import library_versions
from pipeline.evaluation.metrics.density_coverage import NEIGHBOURS
from pipeline.evaluation.metrics.fid import fit_normal
from pipeline.evaluation.metrics.frechet import Normal
from pipeline.evaluation.metrics.intra_fid import (
    ClassDistances,
    class_features,
    intra_fid,
    rows_by_class,
)
from pipeline.evaluation.metrics.moments import Float64
from pipeline.evaluation.metrics.neighbours import Neighbourhoods, kth_distances, neighbourhoods

MAX_POOL = 50_000
"""Real images that KID, the neighbourhood metrics and the real-data IS take; of more an even
random choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceProtocol:
    """How the reference statistics under one extractor were computed."""

    extractor: str
    """Its name."""
    weights_sha256: str
    """Of the extractor's weights."""
    official: bool
    """Whether these are the weights that published FIDs are measured with."""
    feature_dim: int
    """Length d of a feature vector."""
    resize: str
    """How images reach the extractor's size."""
    dataset_digest: str
    """Of the shards."""
    dataset_name: str
    """For people."""
    num_classes: int
    """Of the data set."""
    num_train: int
    """Images of the training split: all of them are in the moments."""
    num_kept_train: int
    """Those of them whose features are kept, for KID and IS."""
    num_heldout: int
    """Images of the held-out split."""
    num_kept_heldout: int
    """Those of them whose features are kept, for the held-out baselines."""
    heldout_accuracy: float | None
    """Of a classifier that was trained here; None without one, or without held-out images."""
    training: Mapping[str, Any] | None
    """How such a classifier was trained."""
    versions: Mapping[str, str]
    """Of the libraries."""
    bf16_effect: Mapping[str, Any] | None = None
    """Result of `measure_bf16_effect` for an extractor in bfloat16."""

    @property
    def entry(self) -> dict[str, Any]:
        """Entries that it adds to the protocol of each metric."""
        return {} if self.bf16_effect is None else {"bf16_effect": dict(self.bf16_effect)}


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceStatistics:
    """Statistics of the real images under one extractor; derived values are computed once."""

    protocol: ReferenceProtocol
    train: FeatureStatistics
    """Moments of the whole training split, and kept features."""
    heldout: FeatureStatistics | None
    """The same of the held-out split; None where that is empty."""
    within_class_std: npt.NDArray[np.float64] | None = None
    """[classes], of the training images' pixels; NaN where a class has none."""
    class_names: Sequence[str] | None = None
    """None where the real images have no classes, or go by their numbers."""

    def with_baseline(self, num_samples: int) -> Self:
        """The same with a held-out baseline of at most `num_samples` images.

        More images would make the baseline lower than a model of `num_samples` images can reach:
        the bias of FID falls with their number.
        """
        heldout = self.heldout
        if heldout is None or len(heldout.features) < 2:
            return replace(self, heldout=None)
        count = min(len(heldout.features), num_samples)
        if count < heldout.moments.count:
            heldout = heldout.take(np.sort(rows_at(0, 1, count, len(heldout.features))))
        return replace(self, heldout=heldout)

    def key(self, stem: str) -> str:
        """The full key of a metric (`fid`, `kid_mean`, ...) under this extractor."""
        return metric_key(stem, self.protocol.extractor, self.protocol.official)

    @cached_property
    def normal(self) -> Normal:
        """Fitted to all training images."""
        return fit_normal(self.train)

    @cached_property
    def pool(self) -> npt.NDArray[np.float32]:
        """Features [M, d], M <= `MAX_POOL`."""
        return np.asarray(self.train.features[self._pool_rows])

    @cached_property
    def pool_logits(self) -> npt.NDArray[np.float32]:
        """Logits [M, k] of the same images."""
        return np.asarray(self.train.logits[self._pool_rows])

    @property
    def has_neighbours(self) -> bool:
        """Whether there are enough training images for balls to reach to a neighbour."""
        return min(len(self.train.features), MAX_POOL) > NEIGHBOURS

    def neighbourhoods(self, images: FeatureStatistics) -> Neighbourhoods:
        """How images lie among the pool."""
        return neighbourhoods(images.features, self.pool, self._radii)

    @cached_property
    def heldout_neighbourhoods(self) -> Neighbourhoods | None:
        """How the held-out images lie among the pool."""
        return None if self.heldout is None else self.neighbourhoods(self.heldout)

    @cached_property
    def rows_by_class(self) -> list[npt.NDArray[np.int64]] | None:
        """Rows of the kept training images of each class; None without classes."""
        labels, num_classes = self.train.labels, self.protocol.num_classes
        return None if labels is None or num_classes < 1 else rows_by_class(labels, num_classes)

    def class_distances(
        self, images: FeatureStatistics, limits: Sequence[int] | None, replicates: int
    ) -> ClassDistances | None:
        """Of the first `limits[label]` images of each class, or all; None without classes."""
        rows = self.rows_by_class
        if images.labels is None or rows is None:
            return None
        return intra_fid(
            class_features(images.features, rows_by_class(images.labels, len(rows)), limits),
            class_features(self.train.features, rows),
            len(rows),
            replicates,
        )

    @property
    def names(self) -> Sequence[str]:
        """Of the classes."""
        return self.class_names or [str(number) for number in range(self.protocol.num_classes)]

    @cached_property
    def _radii(self) -> Float64:
        return kth_distances(self.pool, NEIGHBOURS)

    @cached_property
    def _pool_rows(self) -> slice | npt.NDArray[np.int64]:
        count = len(self.train.features)
        return slice(None) if count <= MAX_POOL else np.sort(rows_at(0, 0, MAX_POOL, count))


def describe_reference(
    extractor: Extractor,
    train: FeatureStatistics,
    heldout: FeatureStatistics | None,
    *,
    dataset_digest: str,
    dataset_name: str,
    num_classes: int,
    training: Mapping[str, Any] | None = None,
    bf16_effect: Mapping[str, Any] | None = None,
) -> ReferenceProtocol:
    """The protocol of statistics that were computed with `extractor` and the libraries at hand."""
    return ReferenceProtocol(
        extractor=extractor.name,
        weights_sha256=extractor.weights_sha256,
        official=extractor.official,
        feature_dim=extractor.feature_dim,
        resize=extractor.resize,
        dataset_digest=dataset_digest,
        dataset_name=dataset_name,
        num_classes=num_classes,
        num_train=train.moments.count,
        num_kept_train=len(train.features),
        num_heldout=0 if heldout is None else heldout.moments.count,
        num_kept_heldout=0 if heldout is None else len(heldout.features),
        heldout_accuracy=None if training is None else training["heldout_accuracy"],
        training=training,
        versions=library_versions(),
        bf16_effect=bf16_effect,
    )
