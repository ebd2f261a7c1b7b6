"""Held-out real images in the place of generated ones: what a perfect model would score."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.loading.order import rows_at
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.reference.protocol import Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Held-out real images that are scored as if generated."""

    count: int
    """Number of them."""
    collected: Collected
    """Their side of the metrics."""


def choose_baseline(reference: Reference, num_samples: int) -> Baseline | None:
    """All held-out images, or `num_samples` of them; None where there are fewer than 2.

    More than `num_samples` would make the baseline lower than a model of as many images can reach:
    the bias of FID falls with their number.
    """
    heldout = reference.heldout
    if heldout is None or len(heldout.features) < 2:
        return None
    count = min(len(heldout.features), num_samples)
    if count == heldout.moments.count:
        return Baseline(count=count, collected=heldout)
    rows = np.sort(rows_at(0, 1, count, len(heldout.features)))
    return Baseline(
        count=count,
        collected=Collected(
            moments=Moments.of(heldout.features[rows]),
            features=heldout.features[rows],
            logits=heldout.logits[rows],
            labels=None if heldout.labels is None else heldout.labels[rows],
        ),
    )
