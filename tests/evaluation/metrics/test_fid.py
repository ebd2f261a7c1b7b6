"""The extrapolation against a brute-force version, and where the truth is known."""

import numpy as np
import pytest

from pipeline.evaluation.metrics.fid import (
    FEWEST,
    NUM_SIZES,
    SMALLEST,
    fit_line,
    subset_order,
    subset_sizes,
)
from pipeline.evaluation.metrics.frechet import Normal, ResampledFrechet, fid_of_moments
from pipeline.evaluation.metrics.moments import Moments

DIM = 24


def _draw(seed: int, count: int, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=(count, DIM))).astype(np.float32)


def test_sizes_begin_at_5000_and_end_with_all() -> None:
    sizes = subset_sizes(50_000)
    assert (len(sizes), sizes[0], sizes[-1]) == (NUM_SIZES, SMALLEST, 50_000)
    assert np.ptp(np.diff(sizes)) <= 1
    assert sorted(subset_order(100)) == list(range(100))
    with pytest.raises(AssertionError):
        subset_sizes(FEWEST - 1)


def test_a_line_is_found_again() -> None:
    sizes = subset_sizes(20_000)
    line = fit_line(sizes, [3 + 700 / n for n in sizes])
    assert (line.intercept, line.slope, line.r2) == pytest.approx((3, 700, 1))
    assert fit_line(sizes, [3.0] * len(sizes)).r2 == 1
    noise = np.random.default_rng(0).normal(size=len(sizes))
    assert fit_line(sizes, noise).r2 < 0.5


def test_it_is_the_fit_of_fids_of_random_subsets() -> None:
    generated, real = _draw(0, FEWEST, scale=1.1), _draw(1, 3000)
    sizes, order = subset_sizes(FEWEST), subset_order(FEWEST)
    distances = ResampledFrechet(generated, Normal.of_features(real)).prefixes(order, sizes)
    real_moments = Moments.of(real)
    expected = [fid_of_moments(Moments.of(generated[order[:n]]), real_moments) for n in sizes]
    assert distances == pytest.approx(expected, rel=1e-9)
    slope, intercept = np.polyfit([1 / n for n in sizes], expected, 1)
    line = fit_line(sizes, distances)
    assert (line.intercept, line.slope) == pytest.approx((intercept, slope), rel=1e-6)
    r2 = np.corrcoef([1 / n for n in sizes], expected)[0, 1] ** 2
    assert line.r2 == pytest.approx(r2, rel=1e-9)


def test_it_is_free_of_the_bias_of_few_images() -> None:
    # The real distribution is the generating one, so that FID at infinity is exactly 0.
    truth = Normal(count=10**9, mean=np.zeros(DIM), factor=np.asfortranarray(np.eye(DIM)))
    values, fids = [], []
    for seed in range(10):
        resampled = ResampledFrechet(_draw(seed, FEWEST), truth)
        sizes = subset_sizes(FEWEST)
        distances = resampled.prefixes(subset_order(FEWEST), sizes)
        values.append(fit_line(sizes, distances).intercept)
        fids.append(distances[-1])
    mean, error = np.mean(values), np.std(values, ddof=1) / len(values) ** 0.5
    assert abs(mean) < 4 * error
    assert np.mean(fids) > 4 * (abs(mean) + error)
