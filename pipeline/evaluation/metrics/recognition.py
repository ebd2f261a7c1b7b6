"""Which generated images the data set's own classifier takes for what they should be."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.evaluation.metrics.intervals import BOOTSTRAP_SEED, deviation_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recognition:
    """Images and hits by class."""

    counts: npt.NDArray[np.int64]
    """[classes], images that should be of the class."""
    hits: npt.NDArray[np.int64]
    """[classes], those of them that are classified so."""

    @property
    def share(self) -> float:
        """Of all images."""
        return float(self.hits.sum() / self.counts.sum())

    @property
    def by_class(self) -> npt.NDArray[np.float64]:
        """[classes], the share of each; NaN for a class without images."""
        shares = np.full(len(self.counts), np.nan)
        np.divide(self.hits, self.counts, out=shares, where=self.counts > 0)
        return shares

    def lowest_deviation(self, replicates: int) -> float:
        """The bootstrap's of the lowest share of a class, images resampled within each."""
        known = self.counts > 0
        random = np.random.default_rng(BOOTSTRAP_SEED)
        shares = self.hits[known] / self.counts[known]
        again = random.binomial(self.counts[known], shares, size=(replicates, known.sum()))
        return deviation_of((again / self.counts[known]).min(axis=1))


def recognise(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Recognition:
    """Of logits [N, classes] and labels [N], N >= 1."""
    num_classes = logits.shape[1]
    correct = logits.argmax(axis=1) == labels
    return Recognition(
        counts=np.bincount(labels, minlength=num_classes),
        hits=np.bincount(labels[correct], minlength=num_classes),
    )
