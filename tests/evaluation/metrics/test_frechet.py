"""FID with known answers, and against torch-fidelity's formula and a matrix square root."""

import numpy as np
import pytest
import scipy.linalg

from pipeline.evaluation.extractors.torchvision_import import import_torch_fidelity
from pipeline.evaluation.metrics import frechet
from pipeline.evaluation.metrics.frechet import (
    Normal,
    ResampledFrechet,
    fid_of_moments,
    frechet_distance,
)
from pipeline.evaluation.metrics.intervals import resampled_rows
from pipeline.evaluation.metrics.moments import Moments


def _normal(mean: np.ndarray, covariance: np.ndarray) -> Moments:
    return Moments(count=101, mean=mean, scatter=100 * covariance)


def _rectified(seed: int, count: int, dim: int, shift: float = 0.0) -> np.ndarray:
    """Non-negative, skewed and correlated, as a network's features are."""
    mixing = np.random.default_rng(99).normal(size=(dim, dim)) / dim**0.5
    vectors = np.random.default_rng(seed).normal(size=(count, dim)) @ mixing + shift
    return np.maximum(vectors, 0).astype(np.float32)


def _by_matrix_root(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x.astype(np.float64), y.astype(np.float64)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    shift = x.mean(axis=0) - y.mean(axis=0)
    return float(shift @ shift + np.trace(a + b - 2 * np.real(scipy.linalg.sqrtm(a @ b))))


def _by_torch_fidelity(x: np.ndarray, y: np.ndarray) -> float:
    metric = import_torch_fidelity("metric_fid")
    statistics = [
        {"mu": z.mean(axis=0, dtype=np.float64), "sigma": np.cov(z, rowvar=False)} for z in (x, y)
    ]
    return float(metric.fid_statistics_to_metric(*statistics, False)[metric.KEY_METRIC_FID])


@pytest.mark.parametrize(("count", "dim"), [(200, 16), (12, 16), (16, 16), (17, 16)])
def test_fid_of_a_set_with_itself_is_zero(count: int, dim: int) -> None:
    features = _rectified(0, count, dim)
    moments = Moments.of(features)
    assert fid_of_moments(moments, moments) == pytest.approx(0, abs=1e-7)
    fitted = Normal.of_features(features)
    assert frechet_distance(fitted, fitted) == pytest.approx(0, abs=1e-7)


def test_fid_of_shifted_and_scaled_gaussians_has_a_closed_form() -> None:
    random = np.random.default_rng(1)
    basis, _ = np.linalg.qr(random.normal(size=(8, 8)))  # of both: the covariances commute
    a, b, shift = random.uniform(0.5, 2, (3, 8))
    moments = [
        _normal(np.zeros(8), basis @ np.diag(a**2) @ basis.T),
        _normal(shift, basis @ np.diag(b**2) @ basis.T),
    ]
    expected = (shift**2).sum() + ((a - b) ** 2).sum()
    assert fid_of_moments(*moments) == pytest.approx(expected, rel=1e-10)
    assert fid_of_moments(*moments[::-1]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("num_x", "num_y"), [(300, 200), (65, 400), (2000, 65)])
def test_with_more_samples_than_dimensions_all_ways_agree(num_x: int, num_y: int) -> None:
    x, y = _rectified(2, num_x, 64), _rectified(3, num_y, 64, shift=0.1)
    value = fid_of_moments(Moments.of(x), Moments.of(y))
    assert value == pytest.approx(_by_matrix_root(x, y), rel=1e-6)
    assert value == pytest.approx(_by_torch_fidelity(x, y), rel=1e-6)
    assert frechet_distance(Moments.of(x), Normal.of_features(y)) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(("num_x", "num_y"), [(20, 30), (40, 300), (300, 40), (64, 64)])
def test_with_fewer_samples_than_dimensions_too(num_x: int, num_y: int) -> None:
    x, y = _rectified(4, num_x, 64), _rectified(5, num_y, 64, shift=0.1)
    value = fid_of_moments(Moments.of(x), Moments.of(y))
    assert value == pytest.approx(_by_torch_fidelity(x, y), rel=2e-5)
    assert value == pytest.approx(_by_matrix_root(x, y), rel=2e-5)
    low_rank = frechet_distance(Normal.of_features(x), Normal.of_features(y))
    assert low_rank == pytest.approx(value, rel=1e-7)


def test_dimensions_that_never_move_are_harmless() -> None:
    x, y = _rectified(6, 300, 24), _rectified(7, 300, 24, shift=0.2)
    expected = fid_of_moments(Moments.of(x), Moments.of(y))
    still = np.full((300, 4), 0.25, np.float32)
    value = fid_of_moments(Moments.of(np.hstack([x, still])), Moments.of(np.hstack([y, still])))
    assert value == pytest.approx(expected, rel=1e-7)


def test_factor_reproduces_the_covariance() -> None:
    for count in (10, 64, 65, 500):
        features = _rectified(8, count, 64)
        for fitted in (Normal.of_features(features), Normal.of_moments(Moments.of(features))):
            covariance = np.cov(features.astype(np.float64), rowvar=False)
            np.testing.assert_allclose(fitted.factor.T @ fitted.factor, covariance, atol=1e-12)
            assert fitted.trace == pytest.approx(np.trace(covariance), rel=1e-12)


def test_one_image_has_no_distance() -> None:
    with pytest.raises(ValueError, match="1 vectors have no covariance"):
        Normal.of_features(np.ones((1, 3), np.float32))


@pytest.mark.parametrize(
    ("num_generated", "num_real"), [(300, 200), (60, 200), (30, 200), (30, 20), (200, 20)]
)
def test_every_prefix_has_the_distance_of_its_rows(
    num_generated: int, num_real: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frechet, "_CHUNK", 7)
    random = np.random.default_rng(0)
    generated = (3 + random.normal(size=(num_generated, 40))).astype(np.float32)
    real = random.normal(size=(num_real, 40)).astype(np.float32)
    resampled = ResampledFrechet(generated, Normal.of_features(real))
    real_moments = Moments.of(real)
    expected = fid_of_moments(Moments.of(generated), real_moments)
    assert resampled.all() == pytest.approx(expected, rel=1e-9)
    sizes = [2, num_generated // 3, num_generated]
    for rows in resampled_rows(num_generated, 2):
        expected_each = [
            fid_of_moments(Moments.of(generated[rows[:n]]), real_moments) for n in sizes
        ]
        assert resampled.prefixes(rows, sizes) == pytest.approx(expected_each, rel=1e-7)
