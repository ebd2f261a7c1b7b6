"""Subsets and resamples through one projection, against FID of the very rows."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import resampled_frechet
from pipeline.evaluation.metrics.frechet import Normal, fid
from pipeline.evaluation.metrics.intervals import resampled_rows
from pipeline.evaluation.metrics.moments import Moments
from pipeline.evaluation.metrics.resampled_frechet import ResampledFrechet


@pytest.mark.parametrize(
    ("num_generated", "num_real"), [(300, 200), (60, 200), (30, 200), (30, 20), (200, 20)]
)
def test_every_prefix_has_the_distance_of_its_rows(
    num_generated: int, num_real: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampled_frechet, "_CHUNK", 7)
    random = np.random.default_rng(0)
    generated = (3 + random.normal(size=(num_generated, 40))).astype(np.float32)
    real = random.normal(size=(num_real, 40)).astype(np.float32)
    resampled = ResampledFrechet(generated, Normal.of_features(real))
    real_moments = Moments.of(real)
    expected = fid(Moments.of(generated), real_moments)
    assert resampled.all() == pytest.approx(expected, rel=1e-9)
    sizes = [2, num_generated // 3, num_generated]
    for rows in resampled_rows(num_generated, 2):
        expected_each = [fid(Moments.of(generated[rows[:n]]), real_moments) for n in sizes]
        assert resampled.prefixes(rows, sizes) == pytest.approx(expected_each, rel=1e-7)
