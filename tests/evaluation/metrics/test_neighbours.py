"""Neighbourhood metrics with known answers and against every pair, one by one."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import neighbours
from pipeline.evaluation.metrics.density_coverage import NEIGHBOURS, coverage, density
from pipeline.evaluation.metrics.neighbours import kth_distances, neighbourhoods
from pipeline.evaluation.metrics.precision_recall import precision_and_recall


def _draw(seed: int, count: int, dim: int = 6) -> np.ndarray:
    return (5 + np.random.default_rng(seed).normal(size=(count, dim))).astype(np.float32)


def _pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    differences = x[:, None].astype(np.float64) - y[None]
    return np.sqrt((differences**2).sum(axis=2))


@pytest.mark.parametrize("block", [2**25, 1000])
def test_density_and_coverage_are_those_of_all_pairs(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_BLOCK_ELEMENTS", block)
    real, generated = _draw(0, 150), _draw(1, 120)
    generated[:5] = real[:5]
    radii = np.sort(_pairs(real, real), axis=1)[:, NEIGHBOURS]  # the nearest is itself
    np.testing.assert_allclose(kth_distances(real, NEIGHBOURS), radii, rtol=1e-9)
    distances = _pairs(generated, real)
    hits = distances < radii
    found = neighbourhoods(generated, real, kth_distances(real, NEIGHBOURS))
    np.testing.assert_array_equal(found.inside, hits.sum(axis=1))
    np.testing.assert_array_equal(found.covered, hits.any(axis=0))
    np.testing.assert_allclose(found.nearest, distances.min(axis=1), atol=1e-6)
    assert density(found) == pytest.approx(hits.sum() / (NEIGHBOURS * len(generated)))
    assert coverage(found) == pytest.approx(hits.any(axis=0).mean())
    assert 0.3 < coverage(found) < 1


def test_real_images_themselves_have_density_and_coverage_one() -> None:
    # Far from the origin, where squares are large against the distances.
    real = _draw(2, 300) + np.float32(100)
    found = neighbourhoods(real, real, kth_distances(real, NEIGHBOURS))
    assert (density(found), coverage(found)) == (1, 1)


def test_a_collapsed_cluster_is_precise_and_covers_nothing() -> None:
    real = _draw(3, 400)
    middle = real.mean(axis=0)
    collapsed = (middle + 0.01 * _draw(4, 200)).astype(np.float32)
    precision, recall = precision_and_recall(collapsed, real)
    assert precision > 0.95
    assert recall < 0.05
    found = neighbourhoods(collapsed, real, kth_distances(real, NEIGHBOURS))
    assert density(found) > 0.5
    assert coverage(found) < 0.2


def test_images_far_away_are_neither_precise_nor_recalled() -> None:
    real = _draw(5, 100)
    far = _draw(6, 100) + np.float32(50)
    assert precision_and_recall(far, real) == (0, 0)
    found = neighbourhoods(far, real, kth_distances(real, NEIGHBOURS))
    assert (density(found), coverage(found)) == (0, 0)


def test_precision_and_recall_of_one_set_are_one() -> None:
    real = _draw(7, 100)
    assert precision_and_recall(real, real) == (1, 1)


def test_precision_and_recall_are_those_of_all_pairs() -> None:
    real, generated = _draw(8, 150), (_draw(9, 120) * np.float32(1.05))
    balls = [np.sort(_pairs(x, x), axis=1)[:, 3] for x in (generated, real)]
    distances = _pairs(generated, real)
    precision = (distances <= balls[1]).any(axis=1).mean()
    recall = (distances <= balls[0][:, None]).any(axis=0).mean()
    assert precision_and_recall(generated, real) == pytest.approx((precision, recall))
    assert 0.1 < precision < 1
    assert 0.1 < recall < 1
