"""How real and generated images are counted and cut."""

import numpy as np
import pytest

from pipeline.evaluation.collector import Collected
from pipeline.evaluation.metrics.frechet import fid
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.model_side import matched_fid, recognised
from pipeline.evaluation.real_side import choose_floor, real_splits
from pipeline.evaluation.reference_folder import read_reference
from pipeline.evaluation.settings import EvaluateSettings
from tests.evaluation.conftest import Prepared


def test_the_floor_takes_no_more_images_than_are_generated(prepared: Prepared) -> None:
    reference = read_reference(prepared.reference / "dataset-cnn", prepared.manifest)
    assert reference.heldout is not None
    count = len(reference.heldout.features)
    floor = choose_floor(reference, count + 5)
    assert floor is not None
    assert (floor.count, floor.collected) == (count, reference.heldout)
    floor = choose_floor(reference, 7)
    assert floor is not None
    assert floor.count == floor.collected.moments.count == len(floor.collected.features) == 7
    known = {row.tobytes() for row in reference.heldout.features}
    assert len({row.tobytes() for row in floor.collected.features} & known) == 7


@pytest.mark.parametrize(
    ("num_real", "num_samples", "is_splits", "expected"),
    [
        (1426, 5000, 10, (3, 475)),
        (50_000, 5000, 10, (10, 5000)),
        (100, 5000, 10, (1, 100)),
        (5, 10, 100, (5, 1)),
    ],
)
def test_real_splits_are_near_the_size_of_the_generated_ones(
    num_real: int, num_samples: int, is_splits: int, expected: tuple[int, int]
) -> None:
    settings = EvaluateSettings(
        num_samples=num_samples, seed=0, is_splits=is_splits, kid_subsets=1, kid_subset_size=2
    )
    assert real_splits(num_real, settings) == expected


def test_recognised_counts_by_class(prepared: Prepared) -> None:
    train = read_reference(prepared.reference / "dataset-cnn", prepared.manifest).train
    share, by_class = recognised(train)
    assert (share, by_class.tolist()) == (1, [1, 1, 1])
    train.labels[train.labels == 2] = 1  # class 2 is not asked for any more
    share, by_class = recognised(train)
    thirds = np.bincount(train.labels)
    right = np.bincount(train.logits.argmax(axis=1))[1]
    assert share == pytest.approx((thirds[0] + right) / len(train.labels))
    assert by_class[:2] == pytest.approx([1, right / thirds[1]])
    assert np.isnan(by_class[2])


def _normal(seed: int, count: int) -> Collected:
    features = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    labels = np.zeros(count, np.int64)
    moments = Moments.of(features)
    return Collected(moments=moments, features=features, logits=features, labels=labels)


def test_matched_fid_has_the_bias_of_the_floor() -> None:
    generated, train, heldout = _normal(0, 1000), _normal(1, 1000), _normal(2, 100)
    floor = fid(heldout.moments, train.moments)
    matched = matched_fid(generated, train, count=100, sets=10)
    assert fid(generated.moments, train.moments) < floor / 4  # though all are of one distribution
    assert matched == pytest.approx(floor, rel=0.3)
    parts = [Moments.of(generated.features[i : i + 100]) for i in range(0, 1000, 100)]
    assert matched == pytest.approx(np.mean([fid(part, train.moments) for part in parts]))
    whole = matched_fid(generated, train, count=1000, sets=1)
    assert whole == fid(generated.moments, train.moments)
