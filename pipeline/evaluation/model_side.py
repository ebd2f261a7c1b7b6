"""What generated images score under one extractor."""

import numpy as np

from pipeline.evaluation.collector import Collected
from pipeline.evaluation.extractors.extractor import DATASET_CNN, metric_key
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
from pipeline.evaluation.real_side import Floor
from pipeline.evaluation.reference_folder import Reference
from pipeline.evaluation.settings import EvaluateSettings

MAX_MATCHED_SETS = 10


def measure_model_side(
    measurements: Measurements,
    generated: Collected,
    reference: Reference,
    floor: Floor | None,
    settings: EvaluateSettings,
    entry: Protocol,
    weights_suffix: str,
) -> None:
    """Adds FID, matched FID, IS, KID and, under the data set's own classifier, accuracy.

    `entry` is what the protocol says of extractor and generator; `weights_suffix` ends the keys.
    """
    protocol, train = reference.protocol, reference.train

    def key(stem: str) -> str:
        return metric_key(stem, protocol.extractor, protocol.official) + weights_suffix

    num_generated = generated.moments.count
    entry = {**entry, "num_generated": num_generated}

    measurements.add(
        key("fid"),
        fid(generated.moments, train.moments),
        {**entry, "num_real": train.moments.count, "formula": FID_FORMULA},
    )
    if floor is not None:
        sets = min(MAX_MATCHED_SETS, num_generated // floor.count)
        measurements.add(
            key("matched_fid"),
            matched_fid(generated, train, floor.count, sets),
            {
                **entry,
                "num_generated": floor.count,
                "sets": sets,
                "num_real": train.moments.count,
                "formula": f"{FID_FORMULA}, mean of disjoint sets of as many generated images as "
                "floor_fid has held-out ones, so that both have one bias",
            },
        )
    splits = min(settings.is_splits, num_generated)
    score = inception_score(generated.logits, splits)
    details = {
        **entry,
        "num_real": 0,
        "reference_split": None,
        "splits": splits,
        "images_per_split": num_generated // splits,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": IS_FORMULA,
    }
    measurements.add(key("is_mean"), score.mean, details)
    measurements.add(key("is_std"), score.std, details)

    size = min(settings.kid_subset_size, num_generated, len(train.features))
    distance = kid(generated.features, train.features, settings.kid_subsets, size)
    details = {
        **entry,
        "num_real": len(train.features),
        "subsets": settings.kid_subsets,
        "subset_size": size,
        "shuffle_seed": SHUFFLE_SEED,
        "formula": KID_FORMULA,
    }
    measurements.add(key("kid_mean"), distance.mean, details)
    measurements.add(key("kid_std"), distance.std, details)

    if protocol.extractor == DATASET_CNN and generated.labels is not None:
        overall, by_class = recognised(generated)
        entry = {**entry, "num_real": 0, "reference_split": None}
        formula = "share of generated images that the data set's own classifier recognises as the "
        measurements.add(
            key("accuracy"), overall, {**entry, "formula": f"{formula}class asked for"}
        )
        measurements.add(
            key("accuracy_min_class"),
            float(np.nanmin(by_class)),
            {**entry, "formula": f"{formula}class asked for, of the class with the lowest share"},
        )


def recognised(generated: Collected) -> tuple[float, np.ndarray]:
    """Share of images classified as labelled: of all, and [classes], NaN for a class without."""
    labels = generated.labels
    assert labels is not None
    correct = generated.logits.argmax(axis=1) == labels
    num_classes = generated.logits.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    hits = np.bincount(labels[correct], minlength=num_classes)
    by_class = np.full(num_classes, np.nan)
    np.divide(hits, counts, out=by_class, where=counts > 0)
    return float(correct.mean()), by_class


def matched_fid(generated: Collected, train: Collected, count: int, sets: int) -> float:
    """Mean FID of the first `sets` stretches of `count` generated images each."""
    if count == generated.moments.count:
        return fid(generated.moments, train.moments)
    parts = (generated.features[start : start + count] for start in range(0, sets * count, count))
    return float(np.mean([fid(Moments.of(part), train.moments) for part in parts]))
