"""Moments in batches against numpy's of all."""

import numpy as np
import pytest

from pipeline.evaluation.metrics.moments import Moments


def test_merged_batches_have_the_moments_of_all() -> None:
    # Far from zero: sums of squares would lose eight digits here.
    vectors = 1e4 + np.random.default_rng(0).normal(size=(107, 9))
    moments = Moments.empty(9)
    for part in np.split(vectors, [1, 40, 41, 90]):
        moments = moments.merged(Moments.of(part))
    assert moments.count == 107
    np.testing.assert_allclose(moments.mean, vectors.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(moments.covariance, np.cov(vectors, rowvar=False), atol=1e-10)


def test_float32_features_are_accumulated_in_float64() -> None:
    vectors = np.random.default_rng(1).uniform(size=(500, 3)).astype(np.float32)
    expected = vectors.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(Moments.of(vectors).mean, expected, rtol=1e-15)


def test_one_vector_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="1 vectors have no covariance"):
        _ = Moments.of(np.ones((1, 2))).covariance
