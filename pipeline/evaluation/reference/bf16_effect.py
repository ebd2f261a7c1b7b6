"""What an extractor's bfloat16 does to a data set's own distances."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from pipeline.data.loading.order import rows_at
from pipeline.data.shards.reader import Rows
from pipeline.evaluation.extractors.extractor import Extractor
from pipeline.evaluation.metrics.frechet import fid
from pipeline.evaluation.metrics.moments import Moments

MAX_IMAGES = 100


def measure_bf16_effect(rows: Rows, rounded: Extractor, exact: Extractor) -> dict[str, Any]:
    """How far the two precisions of one network are apart on up to 100 images, for the protocol.

    `relative_feature_error` is the root mean square of the difference over that of the features,
    `relative_distance_change` that of the Frechet distance of one half of the images to the other.
    """
    count = min(MAX_IMAGES, len(rows))
    index = np.sort(rows_at(0, 0, count, len(rows)))
    images = torch.from_numpy(rows.gather(index)).permute(0, 3, 1, 2)  # (B, C, R, R)
    features, expected = (each.extract(images)[0].double() for each in (rounded, exact))
    effect: dict[str, Any] = {
        "num_images": count,
        "relative_feature_error": float((features - expected).norm() / expected.norm()),
        "relative_distance_change": None,
    }
    if count >= 4:
        distances = [_distance_of_halves(each) for each in (features, expected)]
        if distances[1] > 0:
            effect["relative_distance_change"] = distances[0] / distances[1] - 1
    return effect


def describe_bf16_effect(effect: Mapping[str, Any]) -> str:
    """A sentence for people."""
    change = effect["relative_distance_change"]
    distance = "" if change is None else f", the Frechet distance of their halves by {change:+.2%}"
    return (
        f"bf16 moves the features of {effect['num_images']} images by "
        f"{effect['relative_feature_error']:.2%}{distance}; keep its metrics apart from fp32's"
    )


def _distance_of_halves(features: torch.Tensor) -> float:
    halves = features.numpy()[::2], features.numpy()[1::2]
    return fid(*map(Moments.of, halves))
