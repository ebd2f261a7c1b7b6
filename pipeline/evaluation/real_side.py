"""What the real images score themselves: the numbers that say what the model's mean."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.order import rows_at
from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.extractor import metric_key
from pipeline.evaluation.measurements import Measurements, Protocol
from pipeline.evaluation.metrics.frechet import FID_FORMULA, fid
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.metrics.scores import (
    IS_FORMULA,
    KID_FORMULA,
    SHUFFLE_SEED,
    inception_score,
    kid,
)
from pipeline.evaluation.reference_folder import Reference
from pipeline.evaluation.settings import EvaluateSettings


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """The held-out images that stand where generated ones do in the floor of FID and KID."""

    count: int
    """Number of them."""
    collected: Collected
    """Their side of the metrics."""


def choose_floor(reference: Reference, num_samples: int) -> Floor | None:
    """All held-out images, or `num_samples` of them; None where there are fewer than 2.

    More than `num_samples` would make the floor lower than a model of as many images can reach:
    the bias of FID falls with their number.
    """
    heldout = reference.heldout
    if heldout is None or len(heldout.features) < 2:
        return None
    count = min(len(heldout.features), num_samples)
    if count == heldout.moments.count:
        return Floor(count=count, collected=heldout)
    rows = np.sort(rows_at(0, 1, count, len(heldout.features)))
    return Floor(
        count=count,
        collected=Collected(
            moments=Moments.of(heldout.features[rows]),
            features=heldout.features[rows],
            logits=heldout.logits[rows],
            labels=None if heldout.labels is None else heldout.labels[rows],
        ),
    )


def measure_real_side(
    measurements: Measurements,
    reference: Reference,
    floor: Floor | None,
    settings: EvaluateSettings,
    entry: Protocol,
) -> None:
    """Adds real-data IS, the floor of FID and KID and the classifier's held-out accuracy.

    `entry` is what the protocol says of the extractor.
    """
    protocol, train = reference.protocol, reference.train

    def key(stem: str) -> str:
        return metric_key(stem, protocol.extractor, protocol.official)

    real = {**entry, "weights": None, "num_generated": 0, "seed": None, "labels": None}

    splits, per_split = real_splits(len(train.logits), settings)
    score = inception_score(train.logits, splits)
    details = {
        **real,
        "num_real": len(train.logits),
        "splits": splits,
        "images_per_split": per_split,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": f"{IS_FORMULA}, of real images; splits as near as can be to the size of those "
        "of the generated images, since IS depends on it",
    }
    measurements.add(key("real_is_mean"), score.mean, details)
    measurements.add(key("real_is_std"), score.std, details)

    if protocol.heldout_accuracy is not None:
        measurements.add(
            key("heldout_accuracy"),
            protocol.heldout_accuracy,
            {
                **real,
                "num_real": protocol.num_heldout,
                "reference_split": "heldout",
                "formula": "share of held-out real images that the classifier, trained on the "
                "training split alone, recognises as what they are",
            },
        )
    if floor is None:
        return
    against = {
        **real,
        "compared_split": "heldout",
        "num_compared": floor.count,
        "num_real": train.moments.count,
    }
    measurements.add(
        key("floor_fid"),
        fid(floor.collected.moments, train.moments),
        {
            **against,
            "formula": f"{FID_FORMULA}, held-out in the place of generated images; FID is biased "
            "upward the more, the fewer they are, so compare matched_fid with it",
        },
    )
    size = min(settings.kid_subset_size, floor.count, len(train.features))
    floor_kid = kid(floor.collected.features, train.features, settings.kid_subsets, size)
    details = {
        **against,
        "num_real": len(train.features),
        "subsets": settings.kid_subsets,
        "subset_size": size,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": f"{KID_FORMULA}, held-out in the place of generated images",
    }
    measurements.add(key("floor_kid_mean"), floor_kid.mean, details)
    measurements.add(key("floor_kid_std"), floor_kid.std, details)


def real_splits(num_real: int, settings: EvaluateSettings) -> tuple[int, int]:
    """Splits of the real-data IS and images in each, near those of the generated images."""
    per_split = max(1, settings.num_samples // settings.is_splits)
    splits = min(settings.is_splits, max(1, round(num_real / per_split)))
    return splits, num_real // splits
