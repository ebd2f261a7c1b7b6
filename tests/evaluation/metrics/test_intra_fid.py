"""Distances within classes against a brute-force version."""

import numpy as np
import pytest
import scipy.linalg

from pipeline.evaluation.metrics.intra_fid import (
    ClassDistances,
    class_features,
    intra_fid,
    rows_by_class,
)
from pipeline.evaluation.metrics.moments import Moments

CLASSES, DIM = 4, 32


def _labelled(seed: int, counts: list[int]) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    features = random.normal(size=(len(labels), DIM)) + labels[:, None] * (1 + 0.1 * seed)
    return features.astype(np.float32), labels


def _measure(
    generated: tuple[np.ndarray, np.ndarray],
    real: tuple[np.ndarray, np.ndarray],
    limits: list[int] | None = None,
    replicates: int = 0,
) -> ClassDistances:
    return intra_fid(
        class_features(generated[0], rows_by_class(generated[1], CLASSES), limits),
        class_features(real[0], rows_by_class(real[1], CLASSES)),
        CLASSES,
        replicates,
    )


def _brute_force(x: np.ndarray, y: np.ndarray) -> float:
    a, b = Moments.of(x), Moments.of(y)
    # No root of a singular product: that of B^(1/2) A B^(1/2), which is positive semidefinite.
    values, vectors = np.linalg.eigh(b.covariance)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    inner = scipy.linalg.eigvalsh(root @ a.covariance @ root).clip(min=0)
    shift = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(shift @ shift + traces - 2 * np.sqrt(inner).sum())


def test_each_class_has_its_own_distance() -> None:
    # Fewer images than dimensions on both sides, on one, on the other, on none.
    generated, real = _labelled(0, [10, 10, 90, 90]), _labelled(1, [20, 70, 20, 70])
    found = _measure(generated, real)
    for label in range(CLASSES):
        parts = [features[labels == label] for features, labels in (generated, real)]
        assert found.distances[label] == pytest.approx(_brute_force(*parts), rel=2e-5), label
    assert found.mean == pytest.approx(found.distances.mean())
    assert (found.num_generated, found.num_real) == ((10, 10, 90, 90), (20, 70, 20, 70))
    assert found.deviation is None


def test_limits_take_the_first_images_of_each_class() -> None:
    generated, real = _labelled(0, [50, 50, 50, 50]), _labelled(1, [40, 40, 40, 40])
    found = _measure(generated, real, limits=[20, 60, 0, 2])
    assert found.num_generated == (20, 50, 0, 2)
    first = generated[0][generated[1] == 0][:20]
    expected = _brute_force(first, real[0][real[1] == 0])
    assert found.distances[0] == pytest.approx(expected, rel=2e-5)
    assert np.isnan(found.distances).tolist() == [False, False, True, False]


def test_classes_without_two_images_on_both_sides_count_in_nothing() -> None:
    generated, real = _labelled(0, [30, 1, 30, 0]), _labelled(1, [30, 30, 1, 30])
    found = _measure(generated, real, replicates=2)
    assert np.isnan(found.distances).tolist() == [False, True, True, True]
    assert found.mean == found.distances[0]
    empty = _measure(_labelled(0, [1, 1, 1, 1]), real)
    assert np.isnan(empty.mean)


def test_the_same_images_have_distance_zero() -> None:
    generated = _labelled(0, [10, 40, 40, 10])
    assert _measure(generated, generated).mean == pytest.approx(0, abs=1e-5)


def test_the_deviation_is_that_of_other_samples() -> None:
    real = _labelled(100, [50] * CLASSES)
    means, deviations = [], []
    for seed in range(40):
        random = np.random.default_rng(seed)
        generated = random.normal(size=(40 * CLASSES, DIM)).astype(np.float32)
        found = _measure((generated, np.arange(len(generated)) % CLASSES), real, replicates=20)
        means.append(found.mean)
        deviations.append(found.deviation)
    assert np.mean(deviations) == pytest.approx(np.std(means, ddof=1), rel=0.4)
