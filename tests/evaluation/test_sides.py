"""How real and generated images are counted and cut."""

import pytest

from pipeline.config.schema import EvaluateSection
from pipeline.evaluation.real_side import real_splits
from pipeline.evaluation.reference.baseline import choose_baseline
from pipeline.evaluation.reference.folder import read_reference
from tests.evaluation.conftest import Prepared


def test_the_baseline_takes_no_more_images_than_are_generated(prepared: Prepared) -> None:
    reference = read_reference(prepared.reference / "dataset-cnn", prepared.manifest)
    assert reference.heldout is not None
    count = len(reference.heldout.features)
    baseline = choose_baseline(reference, count + 5)
    assert baseline is not None
    assert (baseline.count, baseline.collected) == (count, reference.heldout)
    baseline = choose_baseline(reference, 7)
    assert baseline is not None
    assert baseline.count == baseline.collected.moments.count == 7
    assert len(baseline.collected.features) == 7
    known = {row.tobytes() for row in reference.heldout.features}
    assert len({row.tobytes() for row in baseline.collected.features} & known) == 7


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
    settings = EvaluateSection(
        num_samples=num_samples, seed=0, is_splits=is_splits, kid_subsets=1, kid_subset_size=2
    )
    assert real_splits(num_real, settings) == expected
