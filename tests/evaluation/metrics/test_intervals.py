"""Intervals contain what they should, about as often as they should."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.evaluation.metrics.frechet import Normal, ResampledFrechet
from pipeline.evaluation.metrics.inception_score import inception_score, inception_score_deviation
from pipeline.evaluation.metrics.intervals import (
    around,
    around_share,
    deviation_of,
    deviation_of_mean,
    resampled_rows,
)
from pipeline.evaluation.metrics.kid import kid, kid_deviation

TRIALS = 100


def test_intervals_reach_1_96_deviations_and_stay_in_bounds() -> None:
    interval = around(0.5, 0.1, "a test", lowest=0, highest=1)
    assert (interval.low, interval.high) == pytest.approx((0.304, 0.696), abs=1e-3)
    assert "1.96 standard deviations of a test" in interval.how
    interval = around(0.95, 0.1, "a test", lowest=0, highest=1)
    assert (interval.low, interval.high) == (pytest.approx(0.754, abs=1e-3), 1)


def test_a_share_is_the_mean_of_hits_and_misses() -> None:
    hits = np.arange(70) < 50
    interval = around_share(5 / 7, 70, "a test")
    expected = around(5 / 7, deviation_of_mean(hits), "the bootstrap of a test")
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert interval.how == expected.how
    assert around_share(0.99, 70, "a test").high == 1


def test_rows_are_drawn_with_replacement_and_always_the_same() -> None:
    first, second = resampled_rows(50, 2)
    again, _ = resampled_rows(50, 2)
    other, _ = resampled_rows(50, 2, stream=1)
    np.testing.assert_array_equal(first, again)
    assert len(set(first.tolist())) < 50
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, other)


def _coverage(measure: Callable[[np.random.Generator], tuple[float, float]]) -> float:
    """Share of trials whose interval contains the mean over all trials."""
    found = [measure(np.random.default_rng(seed)) for seed in range(TRIALS)]
    truth = np.mean([value for value, _ in found])
    intervals = [around(value, deviation, "") for value, deviation in found]
    return float(np.mean([each.low <= truth <= each.high for each in intervals]))


def test_fid() -> None:
    real = Normal.of_features(np.random.default_rng(1000).normal(size=(500, 8)))

    def measure(random: np.random.Generator) -> tuple[float, float]:
        generated = 0.3 + 1.1 * random.normal(size=(300, 8))
        resampled = ResampledFrechet(generated, real)
        again = [resampled.prefixes(rows, [300])[0] for rows in resampled_rows(300, 20)]
        return resampled.all(), deviation_of(again)

    assert _coverage(measure) >= 0.87


def test_percentiles_of_the_bootstrap_would_miss_fid() -> None:
    random = np.random.default_rng(0)
    resampled = ResampledFrechet(
        random.normal(size=(200, 30)), Normal.of_features(random.normal(size=(1000, 30)))
    )
    again = [resampled.prefixes(rows, [200])[0] for rows in resampled_rows(200, 100)]
    assert np.percentile(again, 2.5) > resampled.all()


def test_inception_score() -> None:
    def measure(random: np.random.Generator) -> tuple[float, float]:
        logits = 2 * random.normal(size=(300, 6)).astype(np.float32)
        return inception_score(logits, 3)[0], inception_score_deviation(logits, 3, 20)

    assert _coverage(measure) >= 0.87


def test_inception_score_deviation_is_that_of_the_score_itself() -> None:
    logits = 3 * np.random.default_rng(0).normal(size=(400, 5)).astype(np.float32)
    again = [inception_score(logits[rows], 4)[0] for rows in resampled_rows(400, 200)]
    deviation = inception_score_deviation(logits, 4, 200)
    assert deviation == pytest.approx(deviation_of(again), rel=0.2)


def test_kid() -> None:
    real = np.random.default_rng(1000).normal(size=(500, 8)).astype(np.float32)

    def measure(random: np.random.Generator) -> tuple[float, float]:
        generated = (0.2 + random.normal(size=(300, 8))).astype(np.float32)
        mean, std = kid(generated, real, 20, 100)
        return mean, kid_deviation(generated, real, 20, 20, std)

    assert _coverage(measure) >= 0.87


def test_kid_of_more_images_than_the_pool_is_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    generated, real = 0.3 + random.normal(size=(4000, 6)), random.normal(size=(500, 6))
    whole = kid_deviation(generated, real, 100, 10, 0.0)
    monkeypatch.setattr("pipeline.evaluation.metrics.kid.KID_POOL", 1000)
    assert kid_deviation(generated, real, 100, 10, 0.0) == pytest.approx(whole, rel=0.35)
    with_subsets = kid_deviation(generated, real, 100, 4, 1.0)
    assert with_subsets == pytest.approx(0.5, abs=0.05)


def test_share() -> None:
    def measure(random: np.random.Generator) -> tuple[float, float]:
        hits = random.random(200) < 0.3
        return float(hits.mean()), deviation_of_mean(hits)

    assert _coverage(measure) >= 0.87
