"""What of the real side takes work, done once for all that is compared with it."""

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.data.loading.order import rows_at
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.metrics.density_coverage import NEIGHBOURS
from pipeline.evaluation.metrics.frechet import Normal, frechet_distance
from pipeline.evaluation.metrics.intra_fid import rows_by_class
from pipeline.evaluation.metrics.moments import Float64
from pipeline.evaluation.metrics.neighbours import Neighbourhoods, kth_distances, neighbourhoods
from pipeline.evaluation.reference.baseline import Baseline, choose_baseline
from pipeline.evaluation.reference.protocol import Reference

MAX_POOL = 50_000
"""Real images that KID, the neighbourhood metrics and the real-data IS look at; of more an even
random choice."""


class RealFacts:
    """The training split under one extractor; each fact is computed when it is first asked for."""

    def __init__(
        self,
        reference: Reference,
        baseline: Baseline | None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """Without `class_names` classes go by their numbers."""
        self.reference = reference
        self.baseline = baseline
        numbers = range(reference.protocol.num_classes)
        self.class_names = class_names or [str(number) for number in numbers]

    @classmethod
    def of(
        cls, reference: Reference, num_samples: int, class_names: Sequence[str] | None = None
    ) -> Self:
        """With a held-out baseline of as many generated images, where there are held-out ones."""
        return cls(reference, choose_baseline(reference, num_samples), class_names)

    def key(self, stem: str) -> str:
        """The full key of a metric (`fid`, `kid_mean`, ...) under this extractor."""
        protocol = self.reference.protocol
        return metric_key(stem, protocol.extractor, protocol.official)

    @cached_property
    def normal(self) -> Normal:
        """Of all training images."""
        return _fit(self.reference.train)

    def distance(self, images: Collected) -> float:
        """FID of 2 images or more."""
        few = images.moments.count <= len(images.moments.mean)
        return frechet_distance(_fit(images) if few else images.moments, self.normal)

    @cached_property
    def pool(self) -> npt.NDArray[np.float32]:
        """Features [M, d], M <= `MAX_POOL`."""
        return np.asarray(self.reference.train.features[self._pool_rows])

    @cached_property
    def pool_logits(self) -> npt.NDArray[np.float32]:
        """Logits [M, k] of the same images."""
        return np.asarray(self.reference.train.logits[self._pool_rows])

    @property
    def has_neighbours(self) -> bool:
        """Whether there are enough training images for balls to reach to a neighbour."""
        return min(len(self.reference.train.features), MAX_POOL) > NEIGHBOURS

    def neighbourhoods(self, images: Collected) -> Neighbourhoods:
        """How images lie among the pool."""
        return neighbourhoods(images.features, self.pool, self._radii)

    @cached_property
    def unseen(self) -> Neighbourhoods | None:
        """How the held-out images of the baseline lie among the pool."""
        return None if self.baseline is None else self.neighbourhoods(self.baseline.collected)

    @cached_property
    def rows_by_class(self) -> list[npt.NDArray[np.int64]] | None:
        """Rows of the kept training images of each class; None without classes."""
        labels = self.reference.train.labels
        num_classes = self.reference.protocol.num_classes
        return None if labels is None or num_classes < 1 else rows_by_class(labels, num_classes)

    @cached_property
    def _radii(self) -> Float64:
        return kth_distances(self.pool, NEIGHBOURS)

    @cached_property
    def _pool_rows(self) -> slice | npt.NDArray[np.int64]:
        count = len(self.reference.train.features)
        return slice(None) if count <= MAX_POOL else np.sort(rows_at(0, 0, MAX_POOL, count))


def _fit(images: Collected) -> Normal:
    whole = len(images.features) == images.moments.count
    if whole and images.moments.count <= len(images.moments.mean):
        return Normal.of_features(images.features)
    return Normal.of_moments(images.moments)
